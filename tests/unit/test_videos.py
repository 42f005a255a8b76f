"""Frames are taken out of videos, and what is none is refused in words that help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.apart.watching import Stopped
from app.errors import UnreadableVideo
from app.pictures.frames import Frames, open_frame, read_frames
from app.pictures.video import take_frames
from tests.videos import shade, sound_alone, video


def taken(folder: Path, content: bytes, longest_s: float = 600.0) -> Frames:
    source, target = folder / "video", folder / "frames"
    source.write_bytes(content)
    frames = take_frames(source, target, longest_s=longest_s)
    assert frames == read_frames(target)
    return frames


def bar_at(folder: Path, number: int) -> float:
    """Return where the bright bar of a frame is: 0 at the left, 1 at the right."""
    pixels = np.asarray(open_frame(folder / "frames", number)).min(axis=-1)
    return float((np.flatnonzero((pixels > 200).all(axis=0)).mean() - 7.5) / (pixels.shape[1] - 16))


@pytest.mark.parametrize(
    ("codec", "container"), [("libx264", "mp4"), ("libx265", "matroska"), ("libvpx-vp9", "webm"), ("mpeg4", "mov"), ("libsvtav1", "webm")]
)
def test_two_frames_a_second_are_taken_in_their_order(tmp_path: Path, codec: str, container: str) -> None:
    frames = taken(tmp_path, video(30, codec=codec, container=container))
    assert frames == (96, 64, (0.0, 0.6, 1.2, 1.7, 2.3, 2.9))
    assert [bar_at(tmp_path, number) for number in range(6)] == pytest.approx([0, 6 / 29, 12 / 29, 17 / 29, 23 / 29, 1], abs=0.02)


def test_a_short_video_has_at_most_the_frames_that_it_has(tmp_path: Path) -> None:
    assert [taken(tmp_path, video(count)).times_s for count in (1, 3, 5)] == [(0.0,), (0.0, 0.2), (0.0, 0.1, 0.3, 0.4)]


def test_a_video_is_upright_and_not_larger_than_models_look_at(tmp_path: Path) -> None:
    assert taken(tmp_path, video(2, rotation=90))[:2] == (64, 96)
    upright = np.asarray(open_frame(tmp_path / "frames", 0)).astype(int)
    assert np.abs(upright - np.asarray(shade(0, 2).rotate(90, expand=True))).mean() < 8
    width, height, _ = taken(tmp_path, video(2, size=(1920, 1080), codec="mpeg4"))
    assert width * height <= 1024 * 1024
    assert width / height == pytest.approx(16 / 9, abs=0.01)


def test_the_same_video_makes_the_same_bytes(tmp_path: Path) -> None:
    made = set()
    for _ in range(2):
        taken(tmp_path, video(10))
        made.add((tmp_path / "frames").read_bytes())
    assert len(made) == 1


def damaged() -> bytes:
    content = bytearray(video(100, size=(320, 240)))
    for place in range(300, len(content) - 4000, 11):
        content[place] ^= 0x55
    return bytes(content)


def cut_webm() -> bytes:
    content = video(100, codec="libvpx", container="webm")
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (bytes, "empty"),
        (lambda: b"This is no video. " * 100, "no video that can be read"),
        (lambda: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "no video that can be read"),
        (sound_alone, "no video track"),
        (lambda: video(30)[:-600], "no video that can be read"),
        (cut_webm, "cut off"),
        (damaged, "damaged"),
        (lambda: video(2, size=(4096, 2400), codec="mpeg4"), "4096 x 2400 pixels"),
        (lambda: video(0), "no video track"),
        (lambda: video(30, rate=1), "longer than the 20 seconds"),
    ],
    ids=["empty", "text", "playlist", "sound", "cut mp4", "cut webm", "damaged", "huge", "no frames", "long"],
)
def test_what_is_no_video_is_refused(tmp_path: Path, make: Callable[[], bytes], words: str) -> None:
    with pytest.raises(UnreadableVideo, match=words) as refused:
        taken(tmp_path, make(), longest_s=20.0)
    assert str(tmp_path) not in refused.value.message
    assert not (tmp_path / "frames").exists()


def test_taking_frames_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "video").write_bytes(video(100))
    with pytest.raises(Stopped):
        take_frames(tmp_path / "video", tmp_path / "frames", longest_s=600.0, should_stop=lambda: True)
    assert not (tmp_path / "frames").exists()
