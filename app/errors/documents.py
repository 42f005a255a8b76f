"""What can go wrong with a document."""

from __future__ import annotations

from app.errors.base import InferenceError

__all__ = ["UnreadableDocument"]


class UnreadableDocument(InferenceError):
    """A file is no document that can be used, or not whole."""

    code = "unreadable_document"

    def __init__(self, reason: str) -> None:
        super().__init__(reason, param="file")
