"""Any recording becomes the same sound, and what cannot be used is refused in words that help."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.audio import decoder, decoding
from app.audio.containers import Refused
from app.audio.decoding import Decoded, DecodingStopped, UnreadableAudio, decode, probe
from app.audio.pcm import RATE_HZ, duration_s
from tests.recordings import KINDS, Sound, beside_video, read_pcm, record, speechlike, tone


def decoded(source: Path, *, longest_s: float = 60) -> tuple[Decoded, Sound]:
    target = source.with_suffix(".pcm")
    facts = decode(source, target, longest_s=longest_s, should_stop=lambda: False)
    assert facts.duration_s == duration_s(target)
    return facts, read_pcm(target)


def refused(source: Path, *, longest_s: float = 60) -> str:
    target = source.with_suffix(".pcm")
    with pytest.raises(UnreadableAudio) as caught:
        decode(source, target, longest_s=longest_s, should_stop=lambda: False)
    assert not target.exists()
    assert str(source.parent) not in caught.value.message
    assert caught.value.param == "file"
    return caught.value.message


def loudness(sound: Sound) -> float:
    middle = sound[len(sound) // 4 : -len(sound) // 4]
    return float(np.sqrt(np.mean(middle**2)))


def pitch_hz(sound: Sound) -> int:
    middle = sound[len(sound) // 4 :][:RATE_HZ]
    return int(np.argmax(np.abs(np.fft.rfft(middle))) * RATE_HZ // len(middle))


@pytest.mark.parametrize("kind", KINDS)
def test_every_container_gives_the_same_sound_whatever_its_name_is(tmp_path: Path, kind: str) -> None:
    sound = tone(440, 2)
    source = record(tmp_path / "recording.txt", sound, kind=kind)
    facts, heard = decoded(source)
    assert facts.duration_s == pytest.approx(2, abs=0.07)  # an encoder's priming
    assert loudness(heard) == pytest.approx(loudness(sound), rel=0.06)  # LAME takes 5 % away
    assert pitch_hz(heard) == 440
    said = probe(source)
    assert (said.container, said.codec, said.rate_hz) == (facts.container, facts.codec, 48_000)


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.mov"])
def test_of_a_video_the_sound_is_taken(tmp_path: Path, name: str) -> None:
    facts, heard = decoded(beside_video(tmp_path / name, tone(440, 2)))
    assert facts.duration_s == pytest.approx(2, abs=0.07)
    assert pitch_hz(heard) == 440


def test_sound_that_has_our_form_already_comes_through_unchanged(tmp_path: Path) -> None:
    sound = speechlike(1)
    _, heard = decoded(record(tmp_path / "a.wav", sound, rate_hz=RATE_HZ))
    assert np.abs(heard - sound).max() <= 1 / 32_768


def test_channels_are_averaged_and_not_summed(tmp_path: Path) -> None:
    left = tone(440, 1)
    _, both = decoded(record(tmp_path / "both.wav", np.stack([left, left], axis=1)))
    _, one = decoded(record(tmp_path / "one.wav", np.stack([left, 0 * left], axis=1)))
    _, opposed = decoded(record(tmp_path / "opposed.wav", np.stack([left, -left], axis=1)))
    assert loudness(both) == pytest.approx(loudness(left), rel=0.01)
    assert loudness(one) == pytest.approx(loudness(left) / 2, rel=0.01)
    assert loudness(opposed) < 1e-3


def test_more_channels_than_eight_are_averaged_too(tmp_path: Path) -> None:
    sound = np.repeat(tone(440, 1)[:, np.newaxis], 16, axis=1)
    facts, heard = decoded(record(tmp_path / "a.wav", sound))
    assert facts.channels == 16
    assert loudness(heard) == pytest.approx(loudness(sound[:, 0]), rel=0.01)


def test_what_is_too_high_for_the_rate_is_filtered_and_does_not_fold_down(tmp_path: Path) -> None:
    _, heard = decoded(record(tmp_path / "a.wav", tone(11_000, 1)))
    assert loudness(heard) < 1e-3


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 96_000])
def test_any_usual_rate_keeps_length_and_pitch(tmp_path: Path, rate_hz: int) -> None:
    facts, heard = decoded(record(tmp_path / "a.wav", tone(440, 2, rate_hz=rate_hz), rate_hz=rate_hz))
    assert facts.duration_s == pytest.approx(2, abs=5 / RATE_HZ)
    assert pitch_hz(heard) == 440


def test_what_is_louder_than_full_scale_is_clipped(tmp_path: Path) -> None:
    _, heard = decoded(record(tmp_path / "a.wav", tone(440, 1, rate_hz=RATE_HZ, amplitude=3), rate_hz=RATE_HZ, codec="pcm_f32le"))
    assert (np.abs(heard) > 0.99).mean() > 0.5
    assert np.abs(np.diff(heard)).max() < 0.9  # a wrapped sample would jump by 2


def test_silence_is_no_error(tmp_path: Path) -> None:
    facts, heard = decoded(record(tmp_path / "a.mp3", np.zeros(48_000, np.float32)))
    assert facts.duration_s == pytest.approx(1, abs=0.05)
    assert np.abs(heard).max() < 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    sound = tone(440, 1)
    sound[20_000] = value
    assert "no numbers" in refused(record(tmp_path / "a.wav", sound, codec="pcm_f32le"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.02, 0.4, 0.97])
def test_a_recording_that_is_cut_off_is_refused(tmp_path: Path, kind: str, part: float) -> None:
    whole = record(tmp_path / "whole", speechlike(3, rate_hz=48_000), kind=kind).read_bytes()
    (tmp_path / "cut").write_bytes(whole[: round(len(whole) * part) | 1])
    with pytest.raises(Refused):  # in this process, for the sake of time
        decoder.decode(tmp_path / "cut", tmp_path / "a.pcm", 60)


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7FFF_FFFF])
def test_a_wav_whose_writer_could_not_go_back_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    source = record(tmp_path / "a.wav", tone(440, 2))
    content = bytearray(source.read_bytes())
    struct.pack_into("<I", content, 4, size)
    struct.pack_into("<I", content, content.index(b"data") + 4, size)
    source.write_bytes(content[:-1])
    assert decoded(source)[0].duration_s == pytest.approx(2, abs=0.001)


@pytest.mark.parametrize("kind", ["wav", "mp3", "flac", "ogg", "opus", "m4a", "webm", "aac"])
def test_what_stands_behind_the_end_does_no_harm(tmp_path: Path, kind: str) -> None:
    source = record(tmp_path / "a", tone(440, 2), kind=kind)
    source.write_bytes(source.read_bytes() + b"APETAGEX" + bytes(range(200)) + b"TAG" + b" " * 125)
    assert decoded(source)[0].duration_s == pytest.approx(2, abs=0.15)


def test_tags_before_an_mp3_are_stepped_over(tmp_path: Path) -> None:
    source = record(tmp_path / "a.mp3", tone(440, 2))
    source.write_bytes(b"ID3\x03\0\0\0\0\x02\x00" + bytes(256) + source.read_bytes())
    assert decoded(source)[0].duration_s == pytest.approx(2, abs=0.05)


def _empty() -> bytes:
    return b""


def _text() -> bytes:
    return b"This is a text, and somebody called it recording.wav.\n" * 50


def _picture() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + bytes(500)


def _playlist() -> bytes:
    return b"#EXTM3U\n#EXTINF:10,\nfile:///etc/hostname\n"


def _concat() -> bytes:
    return b"ffconcat version 1.0\nfile /etc/hostname\n"


def _wav(channels: int, rate_hz: int, samples: int) -> bytes:
    block = channels * 2
    size = samples * block
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * block & 0xFFFF_FFFF, block & 0xFFFF, 16)
    head = b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", size) + bytes(size)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (_empty, "empty"),
        (_text, "no recording"),
        (_picture, "no recording"),
        (_playlist, "no recording"),
        (_concat, "no recording"),
        (lambda: _wav(1, 16_000, 0), "no sound"),
        (lambda: _wav(1, 1, 1000), "samples a second"),
        (lambda: _wav(1, 10_000_000, 1000), "samples a second"),
        (lambda: _wav(4_000, 16_000, 100), "no number of channels that can be; from 1 to 64"),
    ],
)
def test_what_is_no_usable_recording_is_refused_with_the_reason(tmp_path: Path, content: Callable[[], bytes], word: str) -> None:
    source = tmp_path / "recording.wav"
    source.write_bytes(content())
    assert word in refused(source)


def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        pictures = container.add_stream("mpeg4", rate=10)
        assert isinstance(pictures, av.VideoStream)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 64, "yuv420p"
        container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(pictures.encode(None))
    assert "no audio track" in refused(tmp_path / "a.mp4")


def test_an_encrypted_recording_is_called_so(tmp_path: Path) -> None:
    source = record(tmp_path / "a.m4a", tone(440, 1))
    source.write_bytes(source.read_bytes().replace(b"mp4a", b"drms", 1))
    assert "encrypted" in refused(source)


def test_a_recording_with_a_hole_is_called_damaged(tmp_path: Path) -> None:
    source = record(tmp_path / "a.flac", speechlike(10, rate_hz=48_000))
    content = bytearray(source.read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    source.write_bytes(content)
    assert "damaged" in refused(source)


def test_a_recording_that_unfolds_beyond_the_limit_is_stopped_there(tmp_path: Path) -> None:
    source = record(tmp_path / "a.flac", np.zeros(48_000 * 120, np.float32))
    assert source.stat().st_size < 100_000
    assert "longer than the 1 minutes" in refused(source)


def test_a_target_that_cannot_be_written_is_the_machines_fault(tmp_path: Path) -> None:
    source = record(tmp_path / "a.wav", tone(440, 1))
    with pytest.raises(FileNotFoundError):
        decode(source, tmp_path / "nowhere" / "a.pcm", longest_s=60, should_stop=lambda: False)


def test_whoever_wants_it_stopped_is_heard_and_nothing_stays(tmp_path: Path) -> None:
    source = record(tmp_path / "a.flac", np.zeros(48_000 * 300, np.float32))
    stop = threading.Event()
    with pytest.raises(DecodingStopped):
        decode(source, tmp_path / "a.pcm", longest_s=3600, should_stop=stop.is_set, tell=lambda _done_s: stop.set())
    assert not (tmp_path / "a.pcm").exists()


def test_a_file_at_which_nothing_more_comes_is_given_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it waits for a writer, as a decoder that loops would
    with pytest.raises(UnreadableAudio, match="got no further"):
        decode(tmp_path / "pipe", tmp_path / "a.pcm", longest_s=60, should_stop=lambda: False, stall_s=0.5)


def test_a_file_that_takes_absurdly_much_memory_costs_the_decoder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_MOST_BYTES", 1)
    source = record(tmp_path / "a.flac", np.zeros(48_000 * 300, np.float32))
    assert "memory" in refused(source, longest_s=3600)
