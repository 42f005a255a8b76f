"""An answer's text taken apart, as it comes, into what is thought, what is said and what is called.

Tags are found however they are cut into pieces, and text that may be the
beginning of one is held back until it is known not to be. Line breaks beside a
tag belong to the markup. Stop strings are looked for in what is said alone.
The same pieces of text always give the same, and so does their whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

from app.engines.lm_library import TextStateMachine
from app.engines.markup import Markup

__all__ = ["Channel", "Channels"]


_STOPPED: Final = "stopped by "


_DATA: Final = "data"  # of what is said: nothing but a stop string counts


class Channel(StrEnum):
    """What a piece of text is."""

    SAID = "said"
    THOUGHT = "thought"
    CALLED = "called"  # what stands between the tags of a call
    CALL_ENDS = "call ends"  # a call is over; the text is its end tag, nothing where there was none


class Channels:
    """The channels of one answer.

    Attributes:
        stopped_by: The stop string that was found, None while none was. Nothing comes after it.
        channel: Where the text is at the moment.
    """

    def __init__(self, markup: Markup, stops: Sequence[str]) -> None:
        self.stopped_by: str | None = None
        self._stops = tuple(stops)
        self.channel = Channel.THOUGHT if markup.opened and markup.think else Channel.SAID
        self._marked = bool(markup.think or markup.call or markup.dropped)
        self._whole = markup.whole
        self._data_comes = markup.data
        self._end_tag = markup.call[1] if markup.call else ""
        self._body: list[str] = []  # of the call that is open
        self._tags = TextStateMachine(_transitions(markup, stops))
        self._machine = self._tags.make_state(self.channel)
        self._breaks = ""  # line breaks that may stand before a tag
        self._fresh = self.channel is Channel.THOUGHT  # a tag was just before: line breaks that follow are its own

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found."""
        return self.stopped_by is not None

    def push(self, text: str) -> list[tuple[Channel, str]]:
        """Return what *text* adds, in order; never half a tag."""
        return [shown for piece in self._cut(text) for shown in self._push(piece)]

    def _cut(self, text: str) -> Iterator[str]:
        """Cut *text* where it may turn out that what follows is to be read otherwise.

        That is after whatever may be the tag that ends a call, and, until data have begun, after each character.
        """
        while text:
            size = len(text)
            if self._data_comes:
                size = 1
            elif self._whole is not None and self._end_tag[-1:] in text:
                size = text.index(self._end_tag[-1:]) + 1
            piece, text = text[:size], text[size:]
            yield piece

    def _push(self, text: str) -> Iterator[tuple[Channel, str]]:
        if self.stopped:
            return
        self._machine, segments = TextStateMachine.split(self._machine, text)
        for number, (state, piece) in enumerate(segments):
            if number:  # between two segments is a tag
                yield from self._cross(state)
            if not self.stopped:
                yield from self._text(piece)

    def flush(self) -> list[tuple[Channel, str]]:
        """Return what was held back, for an answer that ended without a stop string; an open call is over with it."""
        if self.stopped:
            return []
        self._machine, held, _ = TextStateMachine.flush(self._machine)
        found = [*self._text(held)]
        if self._breaks:
            found.append((self.channel, self._breaks))
            self._breaks = ""
        if self.channel is Channel.CALLED:
            found.append((Channel.CALL_ENDS, ""))
        return found

    def _cross(self, state: str) -> Iterator[tuple[Channel, str]]:
        """Go through a tag, or a stop string, to *state*; yield what that tells of the text before it."""
        breaks, self._breaks = self._breaks, ""
        if state.startswith(_STOPPED):  # what stands before a stop string was said, its line breaks too
            self.stopped_by = self._stops[int(state.removeprefix(_STOPPED))]
            if breaks:
                yield self.channel, breaks
            return
        if self.channel is Channel.CALLED and self._whole is not None and not self._whole("".join(self._body)):
            self._machine = self._tags.make_state(Channel.CALLED)  # the tag stands in a string
            yield from self._text(self._end_tag)
            return
        was, self.channel, self._fresh = self.channel, Channel(state), True
        self._body = []
        if was is Channel.CALLED and self.channel is not Channel.CALLED:
            yield Channel.CALL_ENDS, self._end_tag or "\n"

    def _text(self, text: str) -> Iterator[tuple[Channel, str]]:
        if self.channel is Channel.CALLED or not self._marked:
            if self.channel is Channel.CALLED:
                self._body.append(text)
            if text:
                yield self.channel, text
            return
        if self._fresh:
            text = text.lstrip("\n")
            self._fresh = not text
        shown = self._breaks + text
        kept = shown.rstrip("\n")
        self._breaks = shown[len(kept) :]
        if kept:
            yield self.channel, kept
        if self._data_comes and self.channel is Channel.SAID and kept.strip():
            self._data_comes = self._marked = False
            self._machine = self._tags.make_state(_DATA)


def _transitions(markup: Markup, stops: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Return which tag leads from where to where; each stop string to an end of its own. A tag that has no business here is dropped."""
    said: list[tuple[str, str]] = [(stop, f"{_STOPPED}{number}") for number, stop in enumerate(stops)]
    edges: dict[str, list[tuple[str, str]]] = {end: [] for _, end in said}
    edges |= {Channel.SAID.value: said, _DATA: list(said)}
    if markup.think:
        start, end = markup.think
        said += [(start, Channel.THOUGHT), (end, Channel.SAID)]
        edges[Channel.THOUGHT.value] = [(end, Channel.SAID), (start, Channel.THOUGHT)]
    if markup.call:
        start, end = markup.call
        said.append((start, Channel.CALLED))
        said.extend([(end, Channel.SAID)] if end else [])
        edges[Channel.CALLED.value] = [(end or "\n", Channel.SAID)]
    said.extend((tag, Channel.SAID) for tag in markup.dropped)
    return edges
