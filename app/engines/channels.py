"""An answer's text taken apart, as it comes, into what is thought, what is said and what is called.

Tags are found however they are cut into pieces, and text that may be the
beginning of one is held back until it is known not to be. Line breaks beside a
tag belong to the markup. Stop strings are looked for in what is said alone.
The same pieces of text always give the same, and so does their whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from app.engines.lm_library import TextStateMachine
from app.engines.markup import Markup

__all__ = ["Channel", "Channels"]


class Channel(StrEnum):
    """What a piece of text is."""

    SAID = "said"
    THOUGHT = "thought"
    CALLED = "called"  # what stands between the tags of a call
    CALL_ENDS = "call ends"  # no text: a call is over


class Channels:
    """The channels of one answer.

    Attributes:
        stopped: A stop string was found. Nothing comes after it.
        channel: Where the text is at the moment.
    """

    def __init__(self, markup: Markup, stops: Sequence[str]) -> None:
        self.stopped = False
        self.channel = Channel.THOUGHT if markup.opened and markup.think else Channel.SAID
        self._marked = bool(markup.think or markup.call or markup.dropped)
        self._machine = TextStateMachine(_transitions(markup, stops)).make_state(self.channel)
        self._breaks = ""  # line breaks that may stand before a tag
        self._fresh = self.channel is Channel.THOUGHT  # a tag was just before: line breaks that follow are its own

    def push(self, text: str) -> list[tuple[Channel, str]]:
        """Return what *text* adds, in order; never half a tag."""
        if self.stopped:
            return []
        self._machine, segments = TextStateMachine.split(self._machine, text)
        found: list[tuple[Channel, str]] = []
        for number, (state, piece) in enumerate(segments):
            if number:  # between two segments is a tag
                found.extend(self._cross(state))
            if not self.stopped:
                found.extend(self._text(piece))
        return found

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

    def _cross(self, state: str | None) -> Iterator[tuple[Channel, str]]:
        """Go through a tag, or a stop string, to *state*; yield what that tells of the text before it."""
        breaks, self._breaks = self._breaks, ""
        if state is None:  # what stands before a stop string was said, its line breaks too
            self.stopped = True
            if breaks:
                yield self.channel, breaks
            return
        was, self.channel, self._fresh = self.channel, Channel(state), True
        if was is Channel.CALLED and self.channel is not Channel.CALLED:
            yield Channel.CALL_ENDS, ""

    def _text(self, text: str) -> Iterator[tuple[Channel, str]]:
        if self.channel is Channel.CALLED or not self._marked:
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


def _transitions(markup: Markup, stops: Sequence[str]) -> dict[str, list[tuple[str, str | None]]]:
    """Return which tag leads from where to where. A tag that has no business where it stands is dropped."""
    said: list[tuple[str, str | None]] = [(stop, None) for stop in stops]
    edges = {Channel.SAID.value: said}
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
