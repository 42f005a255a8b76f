"""What can go wrong with a picture or a video that a request brings. The caller names the parameter at fault."""

from __future__ import annotations

from app.errors.base import InferenceError

__all__ = ["PictureNotFetched", "PictureTooLarge", "UnreadablePicture", "UnreadableVideo", "VideoNotFetched", "VideoTooLarge"]


class UnreadablePicture(InferenceError):
    """What was sent is no picture that is read here, or not a whole one."""

    code = "unreadable_image"


class PictureTooLarge(InferenceError):
    """A picture has more bytes or more pixels than the settings allow."""

    code = "image_too_large"


class PictureNotFetched(InferenceError):
    """A picture's address is not one that is fetched from, or nothing usable came from there."""

    code = "image_not_fetched"


class UnreadableVideo(InferenceError):
    """What was sent is no video that is read here, or not a whole one, or one without a picture."""

    code = "unreadable_video"


class VideoTooLarge(InferenceError):
    """A video has more bytes or more pixels, or is longer, than is taken."""

    code = "video_too_large"


class VideoNotFetched(InferenceError):
    """A video's address is not one that is fetched from, or nothing usable came from there."""

    code = "video_not_fetched"
