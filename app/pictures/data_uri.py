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

from app.errors import PictureTooLarge, UnreadablePicture

__all__ = ["is_data_uri", "read_data_uri"]

_SCHEME = "data:"
_LONGEST_HEAD = 1000  # a media type with its parameters; a comma that comes later is none of a header
_WHITE_SPACE = b" \t\r\n\f"


def is_data_uri(uri: str) -> bool:
    """Return whether *uri* has the scheme ``data:``."""
    return uri[: len(_SCHEME)].lower() == _SCHEME


def read_data_uri(uri: str, max_bytes: int) -> bytes:
    """Return the bytes that *uri* carries. Too many are refused before they are decoded.

    Raises:
        UnreadablePicture: It is no ``data:`` URI, not base64, or empty.
        PictureTooLarge: It carries more than *max_bytes*.
    """
    comma = uri.find(",", 0, _LONGEST_HEAD)
    if not is_data_uri(uri) or comma < 0:
        msg = "This is no data URI: it begins like data:image/png;base64, and the content follows."
        raise UnreadablePicture(msg)
    if uri[:comma].rpartition(";")[2].strip().lower() != "base64":
        msg = "The data URI must be base64: it begins like data:image/png;base64, and the content follows."
        raise UnreadablePicture(msg)
    encoded = _encoded(uri[comma + 1 :])
    size = len(encoded) // 4 * 3 - encoded[-2:].count(b"=")
    if size > max_bytes:
        msg = f"The picture has {size} bytes; this server takes at most {max_bytes} (MLX_LOCAL_MAX_PICTURE)."
        raise PictureTooLarge(msg)
    try:
        content = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        msg = f"The data URI is not valid base64: {str(error)[:1].lower()}{str(error)[1:]}."
        raise UnreadablePicture(msg) from None
    if not content:
        msg = "The data URI is empty: nothing follows its comma."
        raise UnreadablePicture(msg)
    return content


def _encoded(text: str) -> bytes:
    """Return the letters of base64 alone."""
    if not text.isascii():
        msg = "The data URI is not valid base64: it has letters beyond ASCII."
        raise UnreadablePicture(msg)
    plain = unquote_to_bytes(text) if "%" in text else text.encode("ascii")
    return plain.translate(None, _WHITE_SPACE)
