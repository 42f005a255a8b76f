"""What lengths in headers tell is read from any bytes without trust, and a damaged file costs nobody but its sender."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.audio.completeness import ends_early, is_partial_frame
from app.audio.decoding import UnreadableAudio, decode
from tests.recordings import KINDS, record, speechlike

_BEGINNINGS = (b"RIFF\x24\0\0\0WAVEfmt ", b"RF64\xff\xff\xff\xffWAVEds64", b"FORM\0\0\0\0AIFF", b"OggS\0\2", b"\x1a\x45\xdf\xa3")
_MORE_BEGINNINGS = (b"\0\0\0\x10ftyp", b"\0\0\0\1mdat", b"ID3\4\0\0\x7f\x7f\x7f\x7f", b"\xff\xfb\x90\0", b"\xff\xf1\x50\x80", b"fLaC", b"")
_REPEATED = st.sampled_from([b"\0", b"\xff", b"\x7f", b"OggS", b"\x1f\x43\xb6\x75", b"\xa3\x81", b"data", b"Xing\0\0\0\x0f"])
_TAILS = st.lists(st.tuples(_REPEATED, st.integers(0, 20)).map(lambda pair: pair[0] * pair[1]) | st.binary(max_size=40), max_size=6)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(_BEGINNINGS + _MORE_BEGINNINGS), _TAILS)
def test_any_bytes_have_an_answer(beginning: bytes, rest: list[bytes]) -> None:
    assert ends_early(io.BytesIO(beginning + b"".join(rest))) in {True, False}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["mp3", "mp3float", "aac", "flac"]), st.binary(max_size=16), st.integers(0, 5000))
def test_any_packet_has_an_answer(codec: str, head: bytes, size_bytes: int) -> None:
    assert is_partial_frame(codec, head, size_bytes) in {True, False}


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_recording_does_not_end_early(tmp_path: Path, kind: str) -> None:
    with record(tmp_path / "a", speechlike(1, rate_hz=48_000), kind=kind).open("rb") as file:
        assert not ends_early(file)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_recording_is_read_or_refused_and_nothing_else_happens(tmp_path: Path, kind: str) -> None:
    whole = record(tmp_path / "a", speechlike(1, rate_hz=48_000), kind=kind).read_bytes()
    draw = random.Random(7)  # noqa: S311 - the same damage each time
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 4, 30])):
            damaged[draw.randrange(draw.choice([200, len(damaged)]))] = draw.choice([0, 0x7F, 0xFF, draw.randrange(256)])
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            facts = decode(tmp_path / "damaged", tmp_path / "a.pcm", longest_s=60, should_stop=lambda: False)
        except UnreadableAudio:
            assert not (tmp_path / "a.pcm").exists()
        else:
            assert np.isfinite(facts.duration_s)
            assert 0 < facts.duration_s <= 60
