"""What becomes of a chunk, whatever the model makes of its parts. The listener here follows a script."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest

from app.audio.pcm import RATE_HZ
from app.engines.chunk import hear_chunk
from app.engines.hearing import Heard, Segment, TranscriptionWork, Word
from app.engines.listening import Take
from app.engines.pcm import Samples
from app.engines.protocols import Tokens
from tests.spoken import noise, silence, write_pcm

Script = Callable[[float, float], Take]


class ScriptedListener:
    """A listener that says of a stretch what a script does, and notes which stretches it was given."""

    longest_s = 20.0

    def __init__(self, script: Script) -> None:
        self._script = script
        self.heard: list[tuple[float, float, str | None]] = []

    def hear(self, work: TranscriptionWork, sound: Samples, at_s: float, language: str | None) -> Generator[None, None, Take]:
        end_s = at_s + len(sound) / RATE_HZ
        self.heard.append((round(at_s, 2), round(end_s, 2), language))
        yield
        return self._script(at_s, end_s)

    def close(self) -> None:
        """There is nothing to let go of."""


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Ten seconds of sound with a pause at five, ten of silence, and thirty of sound."""
    parts = [noise(4.8, 0.1), silence(0.4), noise(4.8, 0.1), silence(10), noise(30, 0.1)]
    return write_pcm(tmp_path / "recording.pcm", np.concatenate(parts))


def hear(listener: ScriptedListener, work: TranscriptionWork) -> tuple[Heard, list[Tokens]]:
    said: list[Tokens] = []
    rest = hear_chunk(work, listener)
    while True:
        try:
            if (tokens := next(rest)) is not None:
                said.append(tokens)
        except StopIteration as ending:
            return ending.value, said


def good(start_s: float, end_s: float) -> Take:
    text = f"from {start_s:.0f} to {end_s:.0f}"
    segment = Segment(0.5, end_s - start_s, text)
    return Take(text, (1, 2, 3), "en", (segment,), (Word(0.5, 1, "from"),), prompt_tokens=7, completion_tokens=4)


def test_a_stretch_that_went_well_is_heard_once_and_its_times_are_the_file_s(recording: Path) -> None:
    listener = ScriptedListener(good)
    heard, said = hear(listener, TranscriptionWork("w", recording, 20, 30))
    assert listener.heard == [(20, 30, None)]
    assert heard == Heard("w", "from 20 to 30", "en", (Segment(20.5, 30, "from 20 to 30"),), (Word(20.5, 21, "from"),), "stop", (), 7, 4)
    assert said == [Tokens("w", (1, 2, 3), "from 20 to 30")]


@pytest.mark.parametrize("wrong", [Take("a a a", (1,), "en", cut_off=40), Take("a a a", (1,), "en", repeats=True)])
def test_a_stretch_that_went_wrong_is_heard_as_two_cut_at_the_pause(recording: Path, wrong: Take) -> None:
    listener = ScriptedListener(lambda start, end: wrong if end - start > 6 else good(start, end))
    heard, said = hear(listener, TranscriptionWork("w", recording, 0, 10))
    (whole, first, second) = listener.heard
    assert whole == (0, 10, None)
    assert first[0] == 0
    assert 4.8 < first[1] == second[0] < 5.2
    assert second[1:] == (10, "en")
    assert (first[2], heard.text, heard.reason, heard.warnings) == ("en", "from 0 to 5 from 5 to 10", "stop", ())
    assert "".join(tokens.text for tokens in said) == heard.text
    assert [segment.start_s for segment in heard.segments] == [0.5, pytest.approx(second[0] + 0.5, abs=0.01)]


def test_what_is_still_wrong_then_is_kept_and_said(recording: Path) -> None:
    def never(start: float, end: float) -> Take:
        return Take("and so on", (1,), "en", cut_off=40) if start < 3 else Take("on and on", (1,), "en", repeats=True)

    heard, _ = hear(ScriptedListener(never), TranscriptionWork("w", recording, 0, 10))
    assert heard.text == "and so on on and on"
    assert heard.reason == "length"
    first, second = heard.warnings
    assert "Between 0.0 s and 4.9 s the text ended" in first
    assert "40 tokens" in first
    assert "and 10.0 s the model repeated itself" in second


def test_silence_is_an_empty_text_and_no_model_is_asked(recording: Path) -> None:
    listener = ScriptedListener(good)
    heard, said = hear(listener, TranscriptionWork("w", recording, 11, 19, language="en"))
    assert (heard.text, heard.language, heard.segments, heard.reason, said) == ("", None, (), "stop", [])
    assert not listener.heard
    after_the_end, _ = hear(listener, TranscriptionWork("w", recording, 100, 110))
    assert after_the_end.text == ""


def test_a_chunk_longer_than_the_model_takes_is_heard_in_stretches(recording: Path) -> None:
    listener = ScriptedListener(good)
    heard, _ = hear(listener, TranscriptionWork("w", recording, 0, 50))
    assert all(end - start <= 20 for start, end, _ in listener.heard)
    assert listener.heard[0][0] == 0
    assert listener.heard[-1][1] == 50
    assert {language for _, _, language in listener.heard[1:]} == {"en"}
    assert heard.text.startswith("from 0 to")


def test_a_part_s_text_is_not_emitted(recording: Path) -> None:
    heard, said = hear(ScriptedListener(good), TranscriptionWork("w", recording, 0, 10, whole=False))
    assert heard.text
    assert not said


def test_what_an_earlier_attempt_published_is_not_emitted_again(recording: Path) -> None:
    listener = ScriptedListener(lambda start, end: Take("", repeats=True) if end - start > 6 else good(start, end))
    whole, said = hear(listener, TranscriptionWork("w", recording, 0, 10))
    for published in range(len(said) + 1):
        before = said[:published]
        ids = tuple(token for tokens in before for token in tokens.ids)
        again, rest = hear(listener, TranscriptionWork("w", recording, 0, 10, published=ids))
        assert again == whole
        assert "".join(tokens.text for tokens in (*before, *rest)) == whole.text


def test_texts_of_scripts_without_spaces_are_joined_without(recording: Path) -> None:
    def chinese(start: float, end: float) -> Take:
        return Take("", repeats=True) if end - start > 6 else Take("你好。" if start < 3 else "再见。", (1,), "zh")

    heard, _ = hear(ScriptedListener(chinese), TranscriptionWork("w", recording, 0, 10))
    assert heard.text == "你好。再见。"
