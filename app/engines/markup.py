"""What of an answer's text is markup, and for what: which tags enclose what the model thinks, and its calls of tools. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.engines.protocols import CallPiece

__all__ = ["PLAIN", "CallReader", "Markup"]


class CallReader(Protocol):
    """Reads the calls of one answer, whose text comes in pieces."""

    def push(self, text: str) -> Sequence[CallPiece]:
        """Return what *text*, which stands between the tags of a call, adds to the calls."""
        ...

    def end(self) -> Sequence[CallPiece] | None:
        """Return what the end of a call adds; None where what stood between the tags was no call at all."""
        ...


@dataclass(frozen=True, slots=True)
class Markup:
    """The markup of one answer."""

    think: tuple[str, str] | None = None  # tags around what the model thinks; a model that cannot think has none
    opened: bool = False  # the prompt ends within an open tag, so the answer begins with what is thought
    call: tuple[str, str] | None = None  # tags around a call; None: no tools. Without an end tag it ends with its line
    reader: Callable[[], CallReader] | None = None  # makes what reads the calls
    whole: Callable[[str], bool] | None = None  # whether an end tag after this text ends the call; None: it always does
    only_calls: bool = False  # a call must be made: there is nothing to say, and so nothing to stop
    data: bool = False  # what is said is held to a schema: once it has begun, nothing in it is a tag
    one_call: bool = False  # the answer ends with its first call
    dropped: Sequence[str] = ()  # tags that mean nothing to a reader
    spelled: Mapping[int, str] = field(default_factory=dict)  # special tokens that are tags, or parts of some


PLAIN = Markup()
