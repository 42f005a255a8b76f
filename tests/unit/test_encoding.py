"""Each format is a valid file that holds the sound that was fed, and its beginning comes early."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest

from app.audio import encoding
from app.audio.encoding import CONTENT_TYPES, FORMATS, Encoder, check_encoding, encode
from app.audio.pcm import to_int16
from app.errors import InvalidRequest
from tests.recordings import Sound, tone

_RATE_HZ = 24_000
_CODECS = {"mp3": "mp3float", "opus": "opus", "aac": "aac", "flac": "flac", "wav": "pcm_s16le"}


def pcm(seconds: float, *, hz: float = 440, rate_hz: int = _RATE_HZ) -> bytes:
    return to_int16(tone(hz, seconds, rate_hz=rate_hz)).tobytes()


def in_pieces(encoder: Encoder, sound: bytes, size: int = 4_801) -> list[bytes]:
    with encoder:
        return [*(encoder.feed(sound[at : at + size]) for at in range(0, len(sound), size)), encoder.finish()]


def heard(name: str, content: bytes) -> tuple[Sound, int]:
    """Return the samples of *content*, and their rate."""
    if name == "pcm":
        return np.frombuffer(content, "<i2").astype(np.float32) / np.float32(32_768), _RATE_HZ
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == _CODECS[name]
        assert stream.codec_context.channels == 1
        resampler = av.AudioResampler("flt", "mono", stream.codec_context.sample_rate)
        pieces = [piece.to_ndarray()[0] for frame in container.decode(stream) for piece in resampler.resample(frame)]
        return np.concatenate(pieces).astype(np.float32), stream.codec_context.sample_rate


def pitch_hz(sound: Sound, rate_hz: int) -> float:
    middle = sound[len(sound) // 4 : len(sound) // 4 + rate_hz // 2]
    return float(np.argmax(np.abs(np.fft.rfft(middle))) * rate_hz / len(middle))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 24_000, 44_100])
def test_each_format_holds_what_was_fed(name: str, rate_hz: int) -> None:
    content = b"".join(in_pieces(Encoder(name, rate_hz), pcm(2, rate_hz=rate_hz)))
    sound, found_hz = heard(name, content)
    assert len(sound) / found_hz == pytest.approx(2, abs=0.13)  # mp3 and aac begin with silence and end with a whole frame
    assert pitch_hz(sound, found_hz) == pytest.approx(440, abs=4)
    middle = sound[len(sound) // 4 : -len(sound) // 4]
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.4, rel=0.06)


@pytest.mark.parametrize("name", FORMATS)
def test_the_first_bytes_come_with_the_first_sound(name: str) -> None:
    with Encoder(name, _RATE_HZ) as encoder:
        assert encoder.feed(pcm(0.2))


@pytest.mark.parametrize("name", FORMATS)
def test_what_has_come_so_far_can_be_heard(name: str) -> None:
    pieces = in_pieces(Encoder(name, _RATE_HZ), pcm(3))
    sound, rate_hz = heard(name, b"".join(pieces[: len(pieces) // 2]))
    assert 0.9 < len(sound) / rate_hz < 1.6


@pytest.mark.parametrize("name", ["wav", "flac", "pcm"])
def test_what_loses_nothing_is_the_same_sample_for_sample(name: str) -> None:
    sound = pcm(1.5)
    samples, _ = heard(name, b"".join(in_pieces(Encoder(name, _RATE_HZ), sound)))
    assert to_int16(samples).tobytes() == sound


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("speed", [0.25, 0.7, 1.5, 4.0])
def test_speed_changes_the_length_and_not_the_pitch(name: str, speed: float) -> None:
    sound, rate_hz = heard(name, encode(pcm(4), name, _RATE_HZ, speed))
    assert len(sound) / rate_hz == pytest.approx(4 / speed, abs=0.12)
    assert pitch_hz(sound, rate_hz) == pytest.approx(440, abs=4)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("speed", [1.0, 2.0])
def test_no_sound_is_a_file_all_the_same(name: str, speed: float) -> None:
    content = encode(b"", name, _RATE_HZ, speed)
    assert (content == b"") == (name == "pcm")
    if name in {"mp3", "opus", "aac", "flac"}:
        assert len(heard(name, content)[0]) < _RATE_HZ / 4


def test_a_wav_tells_its_length_where_it_is_known() -> None:
    sound = pcm(1)
    streamed = b"".join(in_pieces(Encoder("wav", _RATE_HZ), sound))
    announced = b"".join(in_pieces(Encoder("wav", _RATE_HZ, total_samples=len(sound) // 2), sound))
    assert announced == encode(sound, "wav", _RATE_HZ)
    assert struct.unpack("<I", streamed[40:44])[0] == 0xFFFF_FFFF
    assert struct.unpack("<I", announced[40:44])[0] == len(sound) == len(announced) - 44
    assert struct.unpack("<I", announced[4:8])[0] == len(announced) - 8
    assert struct.unpack("<I", encode(sound, "wav", _RATE_HZ, 2.0)[40:44])[0] == pytest.approx(len(sound) / 2, abs=2_000)


def test_pcm_is_made_at_the_rate_that_openai_uses() -> None:
    sound, _ = heard("pcm", encode(pcm(2, rate_hz=16_000), "pcm", 16_000))
    assert len(sound) / _RATE_HZ == pytest.approx(2, abs=0.01)
    assert pitch_hz(sound, _RATE_HZ) == pytest.approx(440, abs=4)


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="mp3, opus, aac, flac, wav, pcm") as caught:
        Encoder("m4b", _RATE_HZ)
    assert caught.value.param == "response_format"


@pytest.mark.parametrize("speed", [0.2, 4.1, 0.0, -1.0, float("nan")])
def test_a_speed_that_cannot_be_is_refused(speed: float) -> None:
    with pytest.raises(InvalidRequest, match=r"0\.25 to 4\.0"):
        check_encoding("mp3", speed)


def test_a_format_that_this_pyav_cannot_make_is_refused_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(encoding)["_CODECS"], "mp3", vars(encoding)["_CODECS"]["mp3"]._replace(encoder="libnowhere"))
    with pytest.raises(InvalidRequest, match="Possible are opus, aac, flac, wav, pcm"):
        check_encoding("mp3")


def test_each_format_has_a_content_type() -> None:
    assert all(CONTENT_TYPES[name].startswith("audio/") for name in FORMATS)
