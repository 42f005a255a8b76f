"""Putting published pieces of speech together again: each sentence once, whatever was published twice. Pure."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Assembly", "PieceOfSound"]


class PieceOfSound(Protocol):
    """A piece of one sentence's sound."""

    @property
    def sentence(self) -> int:
        """Its number, from 0."""
        ...

    @property
    def offset(self) -> int:
        """Bytes of the sentence before this piece."""
        ...

    @property
    def pcm(self) -> bytes:
        """int16, little-endian, mono."""
        ...


class Assembly:
    """What has been heard of a speech. An attempt that begins a sentence anew makes the same sound, so only what is new counts."""

    def __init__(self) -> None:
        self._heard: dict[int, int] = {}  # sentence -> bytes

    def take(self, piece: PieceOfSound) -> bytes:
        """Return what *piece* adds to what is known; nothing where all of it is known."""
        known = self._heard.get(piece.sentence, 0)
        new = piece.pcm[max(0, known - piece.offset) :]
        self._heard[piece.sentence] = max(known, piece.offset + len(piece.pcm))
        return new
