"""How long a caller gives its job: the ``Cancel-After`` header, in seconds, or ``deadline``, a moment."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from fastapi import Request

from app.errors import InvalidRequest

__all__ = ["deadline_of"]

_SECONDS = re.compile(r"\d{1,7}(\.\d{1,3})?", re.ASCII)


def deadline_of(request: Request, moment: datetime | None = None) -> datetime | None:
    """Return the moment at which the job that *request* asks for is cancelled if it has not ended; None for never.

    Args:
        request: May have the header.
        moment: The ``deadline`` of its body; the earlier of the two counts.

    Raises:
        InvalidRequest: The header is no positive number of seconds, or the moment has no time zone or has passed.
    """
    now = datetime.now(UTC)
    found = []
    header = request.headers.get("cancel-after")
    if header is not None:
        if not _SECONDS.fullmatch(header) or float(header) <= 0:
            message = f"Cancel-After must be a positive number of seconds (got {header[:20]!r})."
            raise InvalidRequest(message, param="Cancel-After")
        found.append(now + timedelta(seconds=float(header)))
    if moment is not None:
        if moment.tzinfo is None or moment <= now:
            message = "`deadline` must be a moment to come, with a time zone, such as 2030-01-31T12:00:00Z."
            raise InvalidRequest(message, param="deadline")
        found.append(moment)
    return min(found, default=None)
