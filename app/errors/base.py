"""What every error is, and those that any request may meet."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel

__all__ = [
    "Failure",
    "InferenceError",
    "InvalidRequest",
    "InvalidSetting",
]


class Failure(BaseModel, frozen=True):
    """An error as a job record keeps it: a code, a sentence, and the parameter at fault."""

    code: str
    message: str
    param: str | None = None


class InferenceError(Exception):
    """Base of every error that a caller may see.

    Attributes:
        code: Stable, machine-readable, snake case.
        message: One or two sentences that say what to change.
        param: The request parameter at fault, if one is.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def as_fact(self) -> Failure:
        """Return this error as a job record keeps it."""
        return Failure(code=self.code, message=self.message, param=self.param)


class InvalidSetting(InferenceError):
    """A setting has a value that cannot be used. Stops the start."""

    code = "invalid_setting"


class InvalidRequest(InferenceError):
    """A request is malformed or asks for what no model could do."""

    code = "invalid_request"
