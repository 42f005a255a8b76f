"""Whisper: the starter model hears what was said, and a tiny multilingual one what it was told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest

from app.engines.hearing import Spans, SpansWork, TranscriptionWork
from app.engines.hearing_engine import HearingEngine
from app.models.voice_activity import SILERO
from tests.conformance.driver import Outcome, Run, run
from tests.conformance.hearing_subjects import Ear, frontend_over
from tests.spoken import SENTENCES, noise, silence, spoken, write_pcm

BEGIN_S = 5.0
_PLAIN = jiwer.Compose(
    [jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip(), jiwer.ReduceToListOfListOfWords()]
)


def error_rate(said: str, heard: str) -> float:
    return float(jiwer.wer(said, heard, reference_transform=_PLAIN, hypothesis_transform=_PLAIN))


@pytest.fixture(scope="module")
def engine(starter_models: Path) -> Iterator[HearingEngine]:
    frontend = frontend_over(starter_models / "whisper-tiny.en", starter_models / SILERO.id)
    *_, engine = frontend.open()
    assert isinstance(engine, HearingEngine)
    yield engine
    engine.close()


@pytest.fixture
def multilingual(tiny_model: Callable[[str], Path], tmp_path: Path) -> Iterator[Ear]:
    ear = Ear(tiny_model("whisper-f32"), tmp_path)
    yield ear
    ear.close_all()


def chunk_of(file: Path, sound: np.ndarray[Any, np.dtype[np.int16]], **fields: Any) -> TranscriptionWork:  # noqa: ANN401
    return TranscriptionWork("chunk", write_pcm(file, sound), 0.0, len(sound) / 16_000, **fields)


@pytest.fixture(scope="module")
def recording(engine: HearingEngine, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What was heard in a chunk that is longer than a window, five seconds into its file."""
    pauses = [1.5, *[0.5] * (len(SENTENCES) - 1)]
    sound = np.concatenate([silence(BEGIN_S), silence(2), spoken(SENTENCES, pauses)])
    assert len(sound) > 38 * 16_000
    file = write_pcm(tmp_path_factory.mktemp("recording") / "a.pcm", sound)
    return run(engine, TranscriptionWork("chunk", file, BEGIN_S, len(sound) / 16_000, words=True))["chunk"]


def test_what_was_said_is_heard_to_its_end(recording: Outcome) -> None:
    assert error_rate(" ".join(SENTENCES), recording.heard.text) <= 0.02
    assert recording.text == recording.heard.text
    assert (recording.heard.language, recording.heard.reason, recording.heard.warnings) == ("en", "stop", ())


def test_segments_say_what_was_said_when(recording: Outcome) -> None:
    segments = recording.heard.segments
    assert [time for part in segments for time in (part.start_s, part.end_s)] == sorted(
        time for part in segments for time in (part.start_s, part.end_s)
    )
    assert " ".join(segment.text for segment in segments) == recording.heard.text
    assert all(segment.avg_logprob is not None and -1 < segment.avg_logprob < 0 for segment in segments)


def test_words_come_with_their_times_in_order(recording: Outcome) -> None:
    words = recording.heard.words
    assert [word.word for word in words] == recording.heard.text.split()
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert BEGIN_S + 1.5 < words[0].start_s < BEGIN_S + 2.6
    pause = next(after.start_s - before.end_s for before, after in itertools.pairwise(words) if before.word == "rain.")
    assert pause > 0.8


@pytest.mark.slow
def test_two_minutes_in_chunks_give_every_sentence_in_order_and_nothing_else(engine: HearingEngine, tmp_path: Path) -> None:
    said = [SENTENCES[place % len(SENTENCES)] for place in range(36)]
    sound = spoken(said, [0.4 if place % 5 else 4.0 for place in range(36)])
    assert len(sound) > 120 * 16_000
    file = write_pcm(tmp_path / "long.pcm", sound)
    found = run(engine, SpansWork("spans", file))["spans"].end
    assert isinstance(found, Spans)
    chunks = chunks_of(found.spans)
    works = [TranscriptionWork(f"chunk-{place}", file, start, end, whole=False) for place, (start, end) in enumerate(chunks)]
    outcomes = run(engine, *works)
    text = " ".join(outcomes[work.id].heard.text for work in works)
    assert error_rate(" ".join(said), text) <= 0.03
    assert not any(outcome.text for outcome in outcomes.values())


def chunks_of(spans: tuple[tuple[float, float], ...], longest_s: float = 28.0) -> list[tuple[float, float]]:
    """Join *spans* into chunks that the model can take."""
    chunks: list[tuple[float, float]] = []
    for start, end in spans:
        if chunks and end - chunks[-1][0] <= longest_s:
            chunks[-1] = (chunks[-1][0], end)
        else:
            chunks.append((start, end))
    return chunks


def test_nobody_speaks_where_there_is_noise_and_silence(engine: HearingEngine, tmp_path: Path) -> None:
    sound = np.concatenate([silence(3), noise(4, 0.003), silence(3), spoken(SENTENCES[:1], 4.0), noise(4, 0.003)])
    file = write_pcm(tmp_path / "a.pcm", sound)
    found = run(engine, SpansWork("spans", file))["spans"].end
    assert isinstance(found, Spans)
    assert found.spans
    assert 9.5 < found.spans[0][0] < 11
    assert found.spans[-1][1] < len(sound) / 16_000 - 7
    assert run(engine, chunk_of(tmp_path / "b.pcm", silence(10)))["chunk"].heard.text == ""


def test_an_engine_can_be_told_to_stop_amid_a_chunk(engine: HearingEngine, tmp_path: Path) -> None:
    one = Run(engine)
    work = chunk_of(tmp_path / "a.pcm", spoken(SENTENCES, 0.4))
    one.add(work)
    one.step()
    assert one.cancel(work.id).end is None
    assert not engine.has_work


def test_hot_words_and_prompt_reach_the_model(multilingual: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    read = prompts(monkeypatch)
    run(multilingual.open(), multilingual.work(0, prompt="A walk.<|endoftext|>", hotwords=("Lisbon",), language="fr", max_tokens=3))
    assert read[0] == "<|startofprev|> A walk.\nLisbon<|startoftranscript|><|fr|><|transcribe|>".replace(".\n", ". \n")


def test_a_translation_is_asked_for_as_one_and_the_language_is_found_when_nobody_says_it(
    multilingual: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = prompts(monkeypatch)
    heard = run(multilingual.open(), multilingual.work(0, language=None, task="translate", max_tokens=3))["work-0"].heard
    languages = frontend_over(multilingual.directory).languages
    mark = read[0].removeprefix("<|startoftranscript|><|").partition("|>")[0]
    assert mark in languages
    assert read[0].endswith("<|translate|>")
    assert heard.language in {mark, None}


def test_a_prompt_longer_than_the_model_takes_leaves_its_end(multilingual: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    read = prompts(monkeypatch)
    run(multilingual.open(), multilingual.work(0, prompt="river " * 200 + "mill", max_tokens=3))
    assert "mill<|startoftranscript|>" in read[0]
    assert read[0].startswith("<|startofprev|>")


def prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that fills with what the decoder begins with."""
    from mlx_audio.stt.models.whisper.decoding import DecodingTask

    read: list[str] = []
    inner = DecodingTask.__init__

    def watched(self: Any, model: Any, options: Any) -> None:  # noqa: ANN401 - of mlx-audio
        inner(self, model, options)
        read.append(self.tokenizer.decode_with_timestamps(list(self.initial_tokens)))

    monkeypatch.setattr(DecodingTask, "__init__", watched)
    return read
