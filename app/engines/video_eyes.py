"""The families that look at videos, on ordinary threads: how frames become patches, and where they stand in a prompt.

These models see two frames at once, and attend to no other two while they do:
so each pair is a picture of its own, encoded in a slice of its own and kept for
the next question. In the prompt the seconds of a pair stand before it. The
sizes and the words are mlx-vlm's; tests/conformance/test_watching.py holds both
to the library's own answers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL.Image import Resampling

from app.engines.checkpoint import Checkpoint
from app.engines.seeing import Picture, settings_hash
from app.errors import InvalidRequest
from app.pictures.frames import Frames, open_frame, read_frames

__all__ = ["Video", "VideoEyes", "video_eyes_of"]

_WATCHING = frozenset({"qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"})
_BEFORE, _MARK, _AFTER = "<|vision_start|>", "<|video_pad|>", "<|vision_end|>"
_ANY_SIZE = 2**60


class Video(NamedTuple):
    """A video as such a model takes it."""

    pictures: tuple[Picture, ...]  # of two frames each
    times_s: tuple[float, ...]  # of each of them


def video_eyes_of(checkpoint: Checkpoint) -> VideoEyes | None:
    """Return what looks at videos for a model, None where it does not or we do not know how."""
    mark = checkpoint.config.get("video_token_id")
    if checkpoint.model_type not in _WATCHING or not isinstance(mark, int):
        return None
    from mlx_vlm.models.qwen3_vl.processing_qwen3_vl import Qwen3VLVideoProcessor, _qwen_vl_video_kwargs

    return VideoEyes(Qwen3VLVideoProcessor(**_qwen_vl_video_kwargs(str(checkpoint.directory))), mark)


class VideoEyes:
    """Turns frames into pictures in time, and writes their seconds into prompts. Thread-safe.

    Args:
        processor: Of mlx-vlm; of its sampling nothing is used.
        mark: The token that stands for a pair of frames in a prompt.
    """

    def __init__(self, processor: Any, mark: int) -> None:  # noqa: ANN401 - of mlx-vlm
        self.mark = mark
        self._processor = processor
        self._settings = settings_hash(processor)
        self._pair = copy.copy(processor)  # for frames that have their size
        self._pair.min_pixels, self._pair.max_pixels = 1, _ANY_SIZE

    def watch(self, file: Path, content: str) -> Video:
        """Return the video of which frames are in *file* (:mod:`app.pictures.frames`). None is decoded before it is encoded.

        Args:
            file: Frames that were taken when the video came.
            content: What names its bytes: the same for the same.

        Raises:
            InvalidRequest: It is too small, or too long and narrow, for this model.
        """
        frames = read_frames(file)
        down, across = self._size(frames)
        at_once = int(self._processor.temporal_patch_size)
        patch, merge = int(self._processor.patch_size), int(self._processor.merge_size)
        grid = (1, down // patch, across // patch)
        tokens = grid[1] * grid[2] // merge**2
        pictures: list[Picture] = []
        times_s: list[float] = []
        for first in range(0, len(frames.times_s), at_once):
            numbers = range(first, min(first + at_once, len(frames.times_s)))
            key = f"{content}:{first}:{self._settings}"
            pictures.append(Picture(key, None, grid, tokens, partial(self._pixels, file, numbers, (across, down))))
            times_s.append((frames.times_s[numbers[0]] + frames.times_s[numbers[-1]]) / 2)
        return Video(tuple(pictures), tuple(times_s))

    def write(self, text: str, videos: Sequence[Video]) -> str:
        """Return a conversation with each video's mark become one for each pair of frames, and the seconds before it.

        Raises:
            InvalidRequest: There is not one mark for each video: a text has one in it, or the chat template takes no videos.
        """
        marked = f"{_BEFORE}{_MARK}{_AFTER}"
        if (marks := text.count(marked)) != len(videos):
            msg = f"The prompt has {marks} marks for {len(videos)} videos: leave the model's own marks out of texts."
            raise InvalidRequest(msg, param="messages")
        texts = text.split(marked)
        seen = ["".join(f"<{time_s:.1f} seconds>{marked}" for time_s in video.times_s) for video in videos]
        return "".join(part for pair in zip(texts, [*seen, ""], strict=True) for part in pair)

    def _size(self, frames: Frames) -> tuple[int, int]:
        """Return how many pixels each frame has down and across as it is looked at: fewer, the more frames there are."""
        from mlx_vlm.models.qwen3_vl.processing_qwen3_vl import _smart_resize_video

        by = self._processor
        try:
            return _smart_resize_video(
                len(frames.times_s),
                frames.height_px,
                frames.width_px,
                by.temporal_patch_size,
                by.patch_size * by.merge_size,
                by.min_pixels,
                by.max_pixels,
            )
        except ValueError:
            least = by.patch_size * by.merge_size
            how = f"each side must have {least} pixels at least, and the longer one at most 200 times as many as the shorter"
            msg = f"This model cannot look at a video of {frames.width_px} x {frames.height_px} pixels: {how}."
            raise InvalidRequest(msg, param="messages") from None

    def _pixels(self, file: Path, numbers: Sequence[int], size: tuple[int, int]) -> Any:  # noqa: ANN401 - numpy
        frames = [open_frame(file, number).resize(size, Resampling.BICUBIC) for number in numbers]
        return np.asarray(self._pair(videos=[frames])["pixel_values_videos"], np.float32)
