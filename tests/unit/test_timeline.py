"""What is missing in the middle of a recording is noticed, and sound stands where its container says."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from app.audio.decoding import Decoded, UnreadableAudio, decode
from tests.recordings import beside_video, read_pcm, record, speechlike, tone


def decoded(source: Path) -> Decoded:
    return decode(source, source.with_suffix(".pcm"), longest_s=600, should_stop=lambda: False)


def holed(path: Path) -> Path:
    """Zero a fifth of the file, in its middle."""
    content = bytearray(path.read_bytes())
    begin, end = len(content) * 2 // 5, len(content) * 3 // 5
    content[begin:end] = bytes(end - begin)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["mp3", "ogg", "opus", "webm", "aac", "m4a", "flac", "mkv"])
def test_a_hole_in_the_middle_is_no_recording(tmp_path: Path, kind: str) -> None:
    whole = record(tmp_path / f"a.{kind}", speechlike(20, rate_hz=48_000))
    assert decoded(whole).duration_s == pytest.approx(20, abs=0.1)
    with pytest.raises(UnreadableAudio, match=r"damaged|cut off"):
        decoded(holed(whole))


@pytest.mark.parametrize("kind", ["ogg", "opus"])
def test_a_page_that_is_lost_or_changed_is_missed(tmp_path: Path, kind: str) -> None:
    whole = record(tmp_path / f"a.{kind}", speechlike(20, rate_hz=48_000))
    content = whole.read_bytes()
    page = content.find(b"OggS", len(content) // 2)
    following = content.find(b"OggS", page + 4)
    for damaged in (
        content[:page] + content[following:],
        content[: page + 100] + bytes([content[page + 100] ^ 0xFF]) + content[page + 101 :],
    ):
        whole.write_bytes(damaged)
        with pytest.raises(UnreadableAudio, match="damaged"):
            decoded(whole)


def test_silence_that_was_not_sent_is_silence(tmp_path: Path) -> None:
    """As a recorder of calls writes Opus with discontinuous transmission: in silence one packet of twenty."""
    whole, sent = record(tmp_path / "whole.webm", speechlike(20, rate_hz=48_000)), tmp_path / "sent.webm"
    with av.open(str(whole)) as source, av.open(str(sent), "w", format="webm") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for number, packet in enumerate(source.demux(audio=0)):
            if packet.size and not (300 <= number < 600 and number % 20):
                packet.stream = stream
                target.mux(packet)
    assert decoded(sent).duration_s == pytest.approx(decoded(whole).duration_s, abs=0.1)


@pytest.mark.parametrize("kind", ["mkv", "mp4", "mov"])
def test_sound_that_begins_late_is_where_it_is_heard(tmp_path: Path, kind: str) -> None:
    video = beside_video(tmp_path / f"a.{kind}", tone(400, 2), begins_s=3.0)
    assert decoded(video).duration_s == pytest.approx(5, abs=0.15)
    sound = read_pcm(video.with_suffix(".pcm"))
    loud = np.flatnonzero(np.abs(sound) > 0.1) / 16_000
    assert loud[0] == pytest.approx(3.0, abs=0.1)
