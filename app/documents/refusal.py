"""How the renderer's parts say that a file cannot be used. In the child alone: it knows no errors of ours."""

from __future__ import annotations

__all__ = ["DAMAGED", "Refused"]

DAMAGED = "The document is damaged and cannot be opened. Send an undamaged copy."


class Refused(Exception):
    """A document cannot be used; the message is a sentence for its owner."""
