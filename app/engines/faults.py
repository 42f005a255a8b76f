"""What a library may raise out of a slice, and how one request's failure is told.

An engine's slice is a border: beyond it runs code of others over data of users.
Whatever comes out of it concerns the requests of that slice and nobody else, so
these errors are caught there, and there alone. Anything outside the list
(KeyboardInterrupt, SystemExit) is not about a request and passes through.
"""

from __future__ import annotations

from app.errors import EngineFailed, InferenceError

__all__ = ["LIBRARY_ERRORS", "NOT_FINITE", "RequestTooLarge", "engine_failed"]

LIBRARY_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError, OSError)

NOT_FINITE = "The model computed values that are not finite numbers for this request. Its weights may be damaged, or the input breaks it."


class RequestTooLarge(InferenceError):
    """What a model keeps of the request does not fit even when no other model is in memory."""

    code = "request_too_large"

    def __init__(self, model: str, need_bytes: int, budget_bytes: int) -> None:
        super().__init__(
            f"This request needs {need_bytes / 1e9:.2f} GB for its prompt and max_tokens, and beside {model!r} there are "
            f"{budget_bytes / 1e9:.2f} GB. Shorten the prompt or lower max_tokens.",
            param="max_tokens",
        )
        self.need_bytes = need_bytes
        self.budget_bytes = budget_bytes


def engine_failed(error: BaseException) -> EngineFailed:
    """Return the failure of the one request that raised *error*."""
    return EngineFailed(f"The engine failed on this request: {type(error).__name__}: {error}")
