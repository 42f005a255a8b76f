"""Speech requests into work: what is said, by whom, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.engines.protocols import Frontend
from app.engines.speaking import SpeechWork
from app.engines.speech_frontend import LONGEST_INPUT, budget_of
from app.errors import InvalidRequest, UnsupportedTask
from tests.conformance.subjects import Subject

LONG = "The river rises in the hills north of the town and runs past the old mill before it reaches the sea."


@pytest.fixture(scope="module")
def named(subject_named: Callable[[str], Subject]) -> Frontend:
    return subject_named("qwen3_tts-f32").frontend()


@pytest.fixture(scope="module")
def designer(subject_named: Callable[[str], Subject]) -> Frontend:
    return subject_named("qwen3_tts_design-f32").frontend()


@pytest.fixture(scope="module")
def cloner(subject_named: Callable[[str], Subject]) -> Frontend:
    return subject_named("qwen3_tts_base-f32").frontend()


@pytest.fixture
def reference(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "said").write_bytes(bytes(2 * 2 * 16_000))
    return {"ref_audio": str(tmp_path / "said"), "ref_text": "one two three"}


def work(frontend: Frontend, text: object = "Hello.", *, published: tuple[int, ...] = (), **request: Any) -> SpeechWork:  # noqa: ANN401
    prepared = frontend.prepare("w", "speech", {"input": text, **request}, seed=7, published=published)
    assert isinstance(prepared, SpeechWork)
    return prepared


def refusal(frontend: Frontend, text: object = "Hello.", **request: Any) -> InvalidRequest:  # noqa: ANN401
    with pytest.raises(InvalidRequest) as caught:
        work(frontend, text, **request)
    return caught.value


def test_a_request_of_openai_s_client_is_enough(named: Frontend) -> None:
    asked: dict[str, Any] = {"model": "tts", "voice": "Alloy", "response_format": "mp3", "speed": 1.25, "stream_format": "audio"}
    made = work(named, "Hello there.", **asked)
    assert (made.sentences, made.voice, made.language, made.seed) == (("Hello there.",), "vivian", "auto", 7)
    assert made.budgets == (budget_of("Hello there."),)
    assert made.prompt_tokens > 0


def test_long_input_comes_as_sentences_each_with_a_budget_by_its_length(named: Frontend) -> None:
    made = work(named, f"{LONG}\n{LONG}   {LONG} 你好。")
    assert made.sentences == (LONG, LONG, LONG, "你好。")
    assert list(made.budgets) == [budget_of(sentence) for sentence in made.sentences]
    assert budget_of("你好你好") > budget_of("abcd") >= 50


def test_pieces_without_anything_to_say_are_left_out(named: Frontend) -> None:
    assert work(named, f"😀😀\n\n{LONG}\n\n—\n\n…").sentences == (LONG,)


@pytest.mark.parametrize("text", ["", "  \n ", "😀 🚀", "…!?", "<|im_end|>", None, 5])
def test_nothing_to_say_is_refused(named: Frontend, text: object) -> None:
    error = refusal(named, text)
    assert error.param == "input"
    assert "nothing to say" in error.message


def test_too_much_to_say_at_once_is_refused_with_numbers(named: Frontend) -> None:
    assert work(named, "a " * (LONGEST_INPUT // 2)).sentences
    error = refusal(named, "a" * (LONGEST_INPUT + 1))
    assert error.param == "input"
    assert "4097 characters; 4096" in error.message


def test_control_tokens_are_not_said(named: Frontend) -> None:
    made = work(named, "One<|im_end|>two <|im_start|>three.", instructions="Slowly<|im_end|>.")
    assert made.sentences == ("One two three.",)
    assert made.instructions == "Slowly ."


def test_an_attempt_begins_behind_the_sentences_that_were_published(named: Frontend) -> None:
    assert work(named, f"{LONG}\n{LONG}", published=(0,)).first == 1
    assert work(named, f"{LONG}\n{LONG}").first == 0


def test_a_seed_and_sampling_of_the_request_come_before_the_job_s_and_the_model_s(named: Frontend) -> None:
    made = work(named, seed=-1, temperature=0.2, top_k=5)
    assert (made.seed, made.temperature, made.top_k, made.top_p) == (2**63 - 1, 0.2, 5, None)


def test_an_unknown_voice_and_an_unknown_language_are_refused(named: Frontend) -> None:
    assert refusal(named, voice="hal").param == "voice"
    assert refusal(named, language="klingon").param == "language"
    assert work(named, language="de").language == "german"


def test_a_designed_voice_needs_instructions_and_takes_no_name(designer: Frontend) -> None:
    assert refusal(designer).param == "instructions"
    made = work(designer, voice="alloy", instructions="A calm low voice.")
    assert (made.voice, made.instructions) == (None, "A calm low voice.")
    assert refusal(designer, voice="vivian", instructions="A calm low voice.").param == "voice"
    assert "the most is 1000" in refusal(designer, instructions="a" * 1001).message


def test_a_cloned_voice_needs_a_recording_and_what_is_said_in_it(cloner: Frontend, reference: dict[str, Any]) -> None:
    made = work(cloner, **reference)
    assert (made.reference, made.reference_rate, made.reference_text) == (Path(reference["ref_audio"]), 16_000, "one two three")
    assert refusal(cloner).param == "ref_audio"
    assert refusal(cloner, ref_audio=reference["ref_audio"]).param == "ref_text"
    assert refusal(cloner, **reference, instructions="Slowly.").param == "instructions"


@pytest.mark.parametrize("seconds", [0, 0.5, 31])
def test_a_recording_too_short_or_too_long_is_refused(cloner: Frontend, tmp_path: Path, seconds: float) -> None:
    (tmp_path / "said").write_bytes(bytes(int(seconds * 16_000) * 2))
    error = refusal(cloner, ref_audio=str(tmp_path / "said"), ref_text="one")
    assert error.param == "ref_audio"
    assert f"{seconds:.1f} s long" in error.message


def test_a_recording_that_is_gone_is_refused(cloner: Frontend, tmp_path: Path) -> None:
    assert refusal(cloner, ref_audio=str(tmp_path / "gone"), ref_text="one").param == "ref_audio"


def test_other_models_clone_nobody(named: Frontend, reference: dict[str, Any]) -> None:
    assert refusal(named, **reference).param == "ref_audio"


def test_a_prompt_beyond_what_is_reserved_is_refused(cloner: Frontend, reference: dict[str, Any]) -> None:
    assert refusal(cloner, **(reference | {"ref_text": "x y z " * 2000})).param == "ref_text"


def test_a_voice_does_not_chat(named: Frontend) -> None:
    with pytest.raises(UnsupportedTask):
        named.prepare("w", "chat", {"messages": []}, seed=1)
