"""Requests become work for the engine that hears, or are refused with a sentence that says what to do instead."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.engines.hearing import Hears, TranscriptionWork
from app.engines.hearing_frontend import HearingFrontend
from app.errors import InvalidRequest, ModelLoadFailed, UnsupportedTask
from tests.conformance.hearing_subjects import frontend_over
from tests.spoken import noise, write_pcm


@pytest.fixture
def qwen(tiny_model: Callable[[str], Path]) -> HearingFrontend:
    return frontend_over(tiny_model("qwen3_asr-f32"))


@pytest.fixture
def whisper(tiny_model: Callable[[str], Path]) -> HearingFrontend:
    return frontend_over(tiny_model("whisper-f32"))


@pytest.fixture
def english(starter_models: Path) -> HearingFrontend:
    return frontend_over(starter_models / "whisper-tiny.en")


@pytest.fixture
def audio(tmp_path: Path) -> str:
    return str(write_pcm(tmp_path / "sound.pcm", noise(2.5)))


def work_of(frontend: HearingFrontend, audio: str, kind: str = "transcription", **request: Any) -> TranscriptionWork:  # noqa: ANN401
    work = frontend.prepare("w", kind, {"audio": audio, **request}, seed=5)
    assert isinstance(work, TranscriptionWork)
    return work


def test_a_request_without_wishes_is_about_the_whole_recording(whisper: HearingFrontend, audio: str) -> None:
    assert work_of(whisper, audio) == TranscriptionWork("w", Path(audio), 0.0, 2.5, seed=5)


def test_every_wish_arrives(whisper: HearingFrontend, audio: str) -> None:
    request: dict[str, Any] = {
        "start_s": 1,
        "end_s": 2.0,
        "language": "de",
        "prompt": "Berlin",
        "hotwords": ["Spree", " "],
        "temperature": 0.4,
    }
    more: dict[str, Any] = {"seed": 9, "timestamp_granularities": ["word", "segment"], "max_tokens": 30}
    expected = TranscriptionWork(
        "w",
        Path(audio),
        1.0,
        2.0,
        language="de",
        prompt="Berlin",
        hotwords=("Spree",),
        temperature=0.4,
        seed=9,
        max_tokens=30,
        words=True,
        whole=False,
    )
    assert work_of(whisper, audio, **request, **more) == expected
    assert work_of(whisper, audio, "translation").task == "translate"


@pytest.mark.parametrize(
    ("said", "code"),
    [("zh", "zh"), ("yue", "yue"), ("en", "en"), ("EN-us", "en"), ("Chinese", "zh"), ("cantonese", "yue"), ("zh-CN", "zh"), ("auto", None)],
)
def test_languages_are_taken_by_code_and_by_name(qwen: HearingFrontend, audio: str, said: str, code: str | None) -> None:
    assert work_of(qwen, audio, language=said).language == code


def test_a_model_says_what_it_can(qwen: HearingFrontend, whisper: HearingFrontend, english: HearingFrontend) -> None:
    assert all(isinstance(frontend, Hears) for frontend in (qwen, whisper, english))
    assert qwen.languages == ("zh", "en", "yue", "de", "fr")
    assert (len(whisper.languages), english.languages) == (99, ("en",))
    assert (qwen.words, whisper.words, english.words) == (False, True, True)
    assert (qwen.translates, whisper.translates, english.translates) == (False, True, False)
    assert {frontend.longest_chunk_s for frontend in (qwen, whisper, english)} == {30.0}


def test_a_whisper_with_half_a_decoder_is_not_asked_to_translate(tiny_model: Callable[[str], Path], tmp_path: Path, audio: str) -> None:
    turbo = tmp_path / "turbo"
    shutil.copytree(tiny_model("whisper-f32"), turbo)
    config = json.loads((turbo / "config.json").read_text())
    (turbo / "config.json").write_text(json.dumps(config | {"encoder_layers": 4}))
    with pytest.raises(InvalidRequest, match="taught to transcribe alone"):
        work_of(frontend_over(turbo), audio, "translation")


def test_what_a_family_cannot_do_is_refused_with_what_can(qwen: HearingFrontend, english: HearingFrontend, audio: str) -> None:
    with pytest.raises(InvalidRequest, match="Whisper model for words") as caught:
        work_of(qwen, audio, timestamp_granularities=["word"])
    assert caught.value.param == "timestamp_granularities"
    with pytest.raises(InvalidRequest, match="Name a multilingual Whisper") as caught:
        work_of(qwen, audio, "translation")
    assert caught.value.param == "model"
    with pytest.raises(InvalidRequest, match="knows English alone"):
        work_of(english, audio, "translation")
    with pytest.raises(InvalidRequest, match=r"does not know the language 'de'\. It knows en;") as caught:
        work_of(english, audio, language="de")
    assert caught.value.param == "language"
    with pytest.raises(InvalidRequest, match="does not know the language 'klingon'"):
        work_of(qwen, audio, language="klingon")


def test_more_than_a_model_can_be_told_is_refused_and_a_long_prompt_of_whisper_is_not(
    qwen: HearingFrontend, whisper: HearingFrontend, audio: str
) -> None:
    with pytest.raises(InvalidRequest, match="takes 1024") as caught:
        work_of(qwen, audio, prompt="the river " * 900)
    assert caught.value.param == "prompt"
    with pytest.raises(InvalidRequest, match="takes 223") as caught:
        work_of(whisper, audio, hotwords=["river"] * 100)
    assert caught.value.param == "hotwords"
    assert work_of(whisper, audio, prompt="the river " * 900).prompt.endswith("river ")


def test_hot_words_beyond_what_is_taken_are_left_out_where_that_is_asked(
    qwen: HearingFrontend, whisper: HearingFrontend, audio: str
) -> None:
    words = [f"river{n}" for n in range(3000)]
    for frontend in (qwen, whisper):
        told = work_of(frontend, audio, hotwords=words, fit_hotwords=True).hotwords
        assert 0 < len(told) < len(words)
        assert list(told) == words[: len(told)]
        assert work_of(frontend, audio, hotwords=told).hotwords == told
        with pytest.raises(InvalidRequest):
            work_of(frontend, audio, hotwords=words[: len(told) + 1])
    with pytest.raises(InvalidRequest):
        work_of(qwen, audio, prompt="the river " * 900, hotwords=["river"], fit_hotwords=True)


def test_other_work_is_refused(qwen: HearingFrontend, audio: str) -> None:
    with pytest.raises(UnsupportedTask):
        qwen.prepare("w", "chat", {"audio": audio}, seed=1)


def test_what_an_earlier_attempt_published_is_carried_along(qwen: HearingFrontend, audio: str) -> None:
    work = qwen.prepare("w", "transcription", {"audio": audio}, seed=1, published=[3, 4], alone=True)
    assert isinstance(work, TranscriptionWork)
    assert (work.published, work.alone) == ((3, 4), True)


def test_models_that_do_not_write_down_speech_are_refused(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match="'qwen3', which cannot write down speech"):
        frontend_over(tiny_model("qwen3-f32"))
    aligner = tmp_path / "aligner"
    shutil.copytree(tiny_model("qwen3_asr-f32"), aligner)
    config = json.loads((aligner / "config.json").read_text())
    config["thinker_config"]["model_type"] = "qwen3_forced_aligner"
    (aligner / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadFailed, match="qwen3_forced_aligner"):
        frontend_over(aligner)
