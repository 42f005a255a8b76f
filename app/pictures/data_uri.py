"""The bytes of a ``data:`` URI. Pure.

Only base64 is read, and strictly: letters that do not belong there, missing
padding and anything behind the padding are errors, because each may mean that
a part was lost on the way. White space is passed over, and percent-encoding
undone, since a URI may be wrapped and escaped.

The media type is not looked at: what the bytes are is for those to say who
read them. No message repeats what was sent.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from app.pictures.media import PICTURE, Medium

__all__ = ["is_data_uri", "read_data_uri"]

_SCHEME = "data:"
_LONGEST_HEAD = 1000  # a media type with its parameters; a comma that comes later is none of a header
_WHITE_SPACE = b" \t\r\n\f"


def is_data_uri(uri: str) -> bool:
    """Return whether *uri* has the scheme ``data:``."""
    return uri[: len(_SCHEME)].lower() == _SCHEME


def read_data_uri(uri: str, max_bytes: int, medium: Medium = PICTURE) -> bytes:
    """Return the bytes that *uri* carries, of a *medium*. Too many are refused before they are decoded.

    Raises:
        UnreadablePicture: It is no ``data:`` URI, not base64, or empty.
        PictureTooLarge: It carries more than *max_bytes*. Of another medium its own errors.
    """
    comma = uri.find(",", 0, _LONGEST_HEAD)
    if not is_data_uri(uri) or comma < 0:
        msg = f"This is no data URI: it begins like {medium.example} and the content follows."
        raise medium.unreadable(msg)
    if uri[:comma].rpartition(";")[2].strip().lower() != "base64":
        msg = f"The data URI must be base64: it begins like {medium.example} and the content follows."
        raise medium.unreadable(msg)
    encoded = _encoded(uri[comma + 1 :], medium)
    size = len(encoded) // 4 * 3 - encoded[-2:].count(b"=")
    if size > max_bytes:
        msg = f"The {medium.word} has {size} bytes; this server takes at most {max_bytes} ({medium.largest})."
        raise medium.too_large(msg)
    try:
        content = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        msg = f"The data URI is not valid base64: {str(error)[:1].lower()}{str(error)[1:]}."
        raise medium.unreadable(msg) from None
    if not content:
        msg = "The data URI is empty: nothing follows its comma."
        raise medium.unreadable(msg)
    return content


def _encoded(text: str, medium: Medium) -> bytes:
    """Return the letters of base64 alone."""
    if not text.isascii():
        msg = "The data URI is not valid base64: it has letters beyond ASCII."
        raise medium.unreadable(msg)
    plain = unquote_to_bytes(text) if "%" in text else text.encode("ascii")
    return plain.translate(None, _WHITE_SPACE)
