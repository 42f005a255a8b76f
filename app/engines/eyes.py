"""The families that see, on ordinary threads: how a picture becomes patches, and where it stands in a prompt.

The numpy half of mlx-vlm's processors is used, never their other half, which
would decode files, fetch addresses and make MLX arrays. Each picture is taken
alone: of PaddleOCR-VL's processor several of different sizes cannot be.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from app.engines.checkpoint import Checkpoint, read_json
from app.engines.seeing import SEEING, Picture, settings_hash
from app.engines.video_eyes import VideoEyes, video_eyes_of
from app.errors import InvalidRequest
from app.pictures.reading import Limits, open_picture

__all__ = ["Detail", "Eyes", "eyes_of"]

Detail = Literal["auto", "low", "high"]

# OpenAI's low detail is a version of 512 pixels (platform.openai.com/docs/guides/images-vision).
_LOW_PX = 512
# Whoever took the picture in has judged its size; nobody asks twice.
_ANY_SIZE = Limits(max_pixels=2**40, max_bytes=2**40)


def _qwen(directory: Path) -> Any:  # noqa: ANN401 - of mlx-vlm
    from mlx_vlm.models.qwen3_vl.processing_qwen3_vl import Qwen3VLImageProcessor, _qwen_vl_image_kwargs

    return Qwen3VLImageProcessor(**_qwen_vl_image_kwargs(str(directory)))


_PADDLE_FIGURES = frozenset({"min_pixels", "max_pixels", "patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std"})


def _paddle(directory: Path) -> Any:  # noqa: ANN401 - of mlx-vlm
    from mlx_vlm.models.paddleocr_vl.processing_paddleocr_vl import ImageProcessor

    stated = read_json(directory / "preprocessor_config.json") or {}
    size = stated.get("size") or {}
    figures = {name: stated[name] for name in _PADDLE_FIGURES if name in stated}
    return ImageProcessor(**{name: size[name] for name in ("min_pixels", "max_pixels") if name in size} | figures)


def eyes_of(checkpoint: Checkpoint) -> Eyes | None:
    """Return the eyes of a model, None where it has none that we know."""
    if checkpoint.model_type not in SEEING or not isinstance(checkpoint.config.get("vision_config"), dict):
        return None
    mark = checkpoint.config.get("image_token_id")
    if not isinstance(mark, int):
        return None
    processor = _paddle if checkpoint.model_type == "paddleocr_vl" else _qwen
    return Eyes(processor(checkpoint.directory), mark, video_eyes_of(checkpoint))


class Eyes:
    """Turns files into pictures, and puts their places into prompts. Thread-safe.

    Args:
        processor: Of mlx-vlm, for one picture at a time.
        mark: The token that stands for a picture in a prompt.
        videos: Looks at videos, where the family does.
    """

    def __init__(self, processor: Any, mark: int, videos: VideoEyes | None = None) -> None:  # noqa: ANN401 - of mlx-vlm
        self.videos = videos
        self._processor = processor
        self._marks = {mark} | ({videos.mark} if videos else set())
        self._settings = settings_hash(processor)

    def look(self, file: Path, content: str, detail: Detail = "auto") -> Picture:
        """Return the picture in *file*.

        Args:
            file: A picture that was checked when it came.
            content: What names its bytes: the same for the same.
            detail: How closely it is looked at.

        Raises:
            UnreadablePicture: It cannot be decoded after all.
            InvalidRequest: It is too long and narrow for this model.
        """
        made = self._patches(file, detail)
        in_time, down, across = (int(count) for count in np.asarray(made["image_grid_thw"])[0])
        tokens = in_time * down * across // int(self._processor.merge_size) ** 2
        key = f"{content}:{detail == 'low'}:{self._settings}"
        return Picture(key, _pixels(made), (in_time, down, across), tokens, lambda: _pixels(self._patches(file, detail)))

    def _patches(self, file: Path, detail: Detail) -> Any:  # noqa: ANN401 - of mlx-vlm
        image = open_picture(file, _ANY_SIZE)
        if detail == "low":
            image.thumbnail((_LOW_PX, _LOW_PX), Image.Resampling.BICUBIC)
        try:
            return self._processor(images=[image])
        except ValueError:
            how = "the longer side may have at most 200 times as many as the shorter"  # of all families that see
            msg = f"This model cannot look at a picture of {image.width} x {image.height} pixels: {how}."
            raise InvalidRequest(msg, param="messages") from None

    def place(self, prompt: Sequence[int], pictures: Sequence[Picture]) -> list[int]:
        """Return *prompt* with as many marks for each picture, or pair of a video's frames, as it takes places.

        Raises:
            InvalidRequest: There is not one mark for each picture: a text has one in it, or the chat template takes no pictures.
        """
        if (marks := sum(token in self._marks for token in prompt)) != len(pictures):
            msg = f"The prompt has {marks} marks for {len(pictures)} pictures: leave the model's own marks out of texts."
            raise InvalidRequest(msg, param="messages")
        waiting = iter(pictures)
        return [place for token in prompt for place in ([token] * next(waiting).tokens if token in self._marks else [token])]


def _pixels(made: Any) -> Any:  # noqa: ANN401 - of mlx-vlm, and numpy
    return np.asarray(made["pixel_values"], np.float32)
