"""What may be fetched or sent as a ``data:`` URI, and how it is spoken of."""

from __future__ import annotations

from typing import NamedTuple

from app.errors import (
    InferenceError,
    PictureNotFetched,
    PictureTooLarge,
    UnreadablePicture,
    UnreadableVideo,
    VideoNotFetched,
    VideoTooLarge,
)

__all__ = ["PICTURE", "VIDEO", "Medium"]


class Medium(NamedTuple):
    """A kind of file, and its errors."""

    word: str
    largest: str  # the setting that bounds its bytes
    timeout: str  # the setting that bounds its fetching, where it is fetched
    example: str  # how a data URI of it begins
    unreadable: type[InferenceError]
    too_large: type[InferenceError]
    not_fetched: type[InferenceError]


PICTURE = Medium(
    "picture",
    "MLX_LOCAL_MAX_PICTURE",
    "MLX_LOCAL_PICTURE_TIMEOUT",
    "data:image/png;base64,",
    UnreadablePicture,
    PictureTooLarge,
    PictureNotFetched,
)
VIDEO = Medium(
    "video",
    "MLX_LOCAL_MAX_VIDEO",
    "MLX_LOCAL_VIDEO_TIMEOUT",
    "data:video/mp4;base64,",
    UnreadableVideo,
    VideoTooLarge,
    VideoNotFetched,
)
