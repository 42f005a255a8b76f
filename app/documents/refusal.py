"""How the renderer's parts say that a file cannot be used. In the child alone: it knows no errors of ours."""

from __future__ import annotations

from app.apart.child import Refused

__all__ = ["DAMAGED", "Refused"]

DAMAGED = "The document is damaged and cannot be opened. Send an undamaged copy."
