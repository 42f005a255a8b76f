"""The transcribe folder of a whole stack: recordings of every kind are dropped, transcripts come, and nobody does anything."""

from __future__ import annotations

import json
import time
from pathlib import Path

import jiwer
import numpy as np
import pytest

from app.audio.pcm import RATE_HZ
from tests.e2e.conftest import Stack
from tests.recordings import record
from tests.spoken import SENTENCES, spoken

_KINDS = ("wav", "mp3", "m4a", "flac", "ogg", "webm")
_PATIENCE_S = 240.0
_PLAIN = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()])


def text_of(result: Path) -> str:
    return result.read_text().split("---\n", 2)[2]


@pytest.fixture
def recordings(tmp_path: Path) -> dict[str, str]:
    """Make a recording of each kind, and return what is said in it."""
    said = {}
    for number, kind in enumerate(_KINDS):
        sentences = SENTENCES[number : number + 1]
        sound = spoken(sentences, 0.6).astype(np.float32) / np.float32(32768)
        if kind == "webm":  # opus knows no other rate
            record(tmp_path / f"talk.{kind}", np.repeat(sound, 3), rate_hz=48_000)
        else:
            record(tmp_path / f"talk.{kind}", sound, rate_hz=RATE_HZ)
        said[kind] = " ".join(sentences)
    return said


def test_what_is_dropped_is_transcribed_corrected_and_archived(stack: Stack, recordings: dict[str, str], tmp_path: Path) -> None:
    folder = stack.home / "recordings"
    folder.mkdir(exist_ok=True)  # the daemon may still be on its way
    for kind in recordings:
        (tmp_path / f"talk.{kind}").rename(folder / f"talk.{kind}")
    give_up = time.monotonic() + _PATIENCE_S
    while {path.name for path in (folder / "done").glob("*")} != {f"talk.{kind}" for kind in recordings}:
        assert time.monotonic() < give_up, stack.run("status")
        assert not list(folder.glob("*_failed.md")), [path.read_text() for path in folder.glob("*_failed.md")]
        time.sleep(0.1)

    stems = {
        kind: next(path.name for path in folder.glob("*_raw.md") if f'source: "talk.{kind}"' in path.read_text()) for kind in recordings
    }
    for kind, said in recordings.items():
        raw = folder / stems[kind]
        assert jiwer.wer(_PLAIN(said), _PLAIN(text_of(raw))) <= 0.15
        corrected = raw.with_name(raw.name.replace("_raw", "_corrected"))
        assert 'corrected_pieces: "' in corrected.read_text()
        assert text_of(corrected).strip()
    while json.loads(stack.run("status", "--json"))["recordings"]["files"]:  # it is told once a second
        assert time.monotonic() < give_up, stack.run("status")
    jobs = json.loads(stack.run("jobs", "list", "--json", "--kind", "transcript"))
    assert len(jobs["data"] if isinstance(jobs, dict) else jobs) == len(_KINDS)
