"""Why a request is not let in, as errors: the wrong host or page, no key, a key that allows less, too many requests."""

from __future__ import annotations

import math

from app.errors import InferenceError

__all__ = ["ForeignHost", "InsufficientScope", "InvalidKey", "RateLimitExceeded"]


class ForeignHost(InferenceError):
    """A web page, or a name that public DNS can hand out, asks for a server that is not there for it."""

    code = "foreign_host"


class InvalidKey(InferenceError):
    """The API key is missing or wrong."""

    code = "invalid_api_key"

    def __init__(self) -> None:
        how = "'Authorization: Bearer KEY' or 'x-api-key: KEY'"
        super().__init__(f"This server needs an API key: send the header {how}. `mlx-local keys create NAME` makes one.")


class InsufficientScope(InferenceError):
    """The API key is right, and allows less than was asked for."""

    code = "insufficient_scope"

    def __init__(self, name: str, scope: str, needed: str, what: str) -> None:
        super().__init__(
            f"The key {name!r} has the scope '{scope}', which does not allow {what}: that needs a key of the scope '{needed}'."
        )


class RateLimitExceeded(InferenceError):
    """The key has been used too often of late."""

    code = "rate_limit_exceeded"

    def __init__(self, limit: str, wait_s: float) -> None:
        self.retry_after_s = max(1, math.ceil(wait_s))
        super().__init__(f"Each key may send {limit} requests here (MLX_LOCAL_RATE_LIMIT); try again in {self.retry_after_s} s.")
