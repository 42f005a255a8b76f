"""What can go wrong with a picture that a request brings. The caller names the parameter at fault."""

from __future__ import annotations

from app.errors.base import InferenceError

__all__ = ["PictureNotFetched", "PictureTooLarge", "UnreadablePicture"]


class UnreadablePicture(InferenceError):
    """What was sent is no picture that is read here, or not a whole one."""

    code = "unreadable_image"


class PictureTooLarge(InferenceError):
    """A picture has more bytes or more pixels than the settings allow."""

    code = "image_too_large"


class PictureNotFetched(InferenceError):
    """A picture's address is not one that is fetched from, or nothing usable came from there."""

    code = "image_not_fetched"
