"""One answer as it grows: its tokens, what they show, and whether it has ended.

Knows no mlx. The same ids always show the same and end the same, so an answer
that an earlier attempt began is taken up by replaying its ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from app.engines.channels import Channel, Channels
from app.engines.detokenize import Detokenizer
from app.engines.markup import PLAIN
from app.engines.protocols import MOST_PASSED, CallPiece, Finished, FinishReason, TextWork
from app.engines.repetition import loops

__all__ = ["Answer", "Shown"]


class Shown(NamedTuple):
    """What tokens add to what may be seen."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[CallPiece, ...] = ()
    runs: tuple[tuple[str, int], ...] = ()  # how they took turns, as in :class:`~app.engines.protocols.Tokens`


class Answer:
    """The answer to one piece of work.

    Attributes:
        ids: Its tokens so far, those of an earlier attempt included.
        finish: Why it ended, None while it has not.
        cached_tokens: Of the prompt, taken from the prefix cache.
        alone: Whether nothing else of the engine may share a slice with it.
        prefilled: Whether ``Prefilled`` was reported.
        rests: How often others entered while its prompt rested, half read.
        looped: Whether it ended because it repeated itself.
        reasoning_tokens: How many of its tokens were thought.
    """

    def __init__(self, work: TextWork, detokenizer: Callable[[], Detokenizer], eos_token_ids: frozenset[int]) -> None:
        self.work = work
        self.ids: list[int] = []
        self.finish: FinishReason | None = None
        self.cached_tokens = 0
        self.alone = work.alone
        self.prefilled = False
        self.rests = 0
        self.looped = False
        self.reasoning_tokens = 0
        self._markup = work.markup or PLAIN
        self._eos_token_ids = eos_token_ids
        self._detokenizer = detokenizer()
        self._channels = Channels(self._markup, () if self._markup.only_calls else work.stop)
        self._reader = self._markup.reader() if self._markup.reader else None
        self._body: list[str] = []  # of the call that is open
        self._called = False  # a whole call was read
        for token in work.published:
            if self.finish is None:
                self.take(token)

    @property
    def stopped_by(self) -> str | None:
        """The stop string that ended it, if one did."""
        return self._channels.stopped_by

    @property
    def tokens(self) -> list[int]:
        """What the model must have read before the next token: prompt and answer so far."""
        return [*self.work.prompt, *self.ids]

    @property
    def missing(self) -> int:
        """How many tokens the answer may still have."""
        return self.work.max_tokens - len(self.ids)

    @property
    def may_rest(self) -> bool:
        """Whether its prompt may be set aside for another's: nobody waits for it, and it was not made to often enough."""
        return self.work.patient and not self.alone and self.rests < MOST_PASSED

    @property
    def finished(self) -> Finished:
        """How it ended."""
        counted = (len(self.work.prompt), len(self.ids), self.cached_tokens)
        return Finished(self.work.id, self.finish or "stop", *counted, self.looped, self.reasoning_tokens, self.stopped_by)

    def take(self, token: int) -> Shown:
        """Add *token* and return what may be shown now.

        The end-of-sequence token counts and shows nothing. A stop string ends the answer before itself; at
        any other end what was held back comes out.
        """
        self.ids.append(token)
        ended = token in self._eos_token_ids
        self.looped = not ended and self.work.ends_loops and loops(self.ids)
        over = self.looped or self.missing <= 0
        thought = self._channels.channel is Channel.THOUGHT
        channels = self._channels
        found = [] if ended else channels.push(self._detokenizer.push(token) + self._markup.spelled.get(token, ""))
        if ended or over:
            found += [*channels.push(self._detokenizer.finish()), *channels.flush()]
        if thought or channels.channel is Channel.THOUGHT:
            self.reasoning_tokens += 1
        shown = self._shown(found, cut=over and not ended)
        if ended or channels.stopped or (self._called and self._markup.one_call):
            self.finish = "stop"
        elif over:
            self.finish = "length"
        return shown

    def _shown(self, found: Iterable[tuple[Channel, str]], *, cut: bool) -> Shown:
        """Return what *found* shows.

        Args:
            found: What the channels gave.
            cut: The answer ends here, though the model had not ended it.
        """
        shown: dict[str, list[Any]] = {"r": [], "t": [], "c": []}
        runs: list[tuple[str, int]] = []
        for channel, text in found:
            for letter, pieces in self._told(channel, text, cut=cut):
                shown[letter].extend(pieces)
                runs.append((letter, len(pieces)))
        return Shown("".join(shown["t"]), "".join(shown["r"]), tuple(shown["c"]), tuple(runs))

    def _told(self, channel: Channel, text: str, *, cut: bool) -> Iterator[tuple[str, Sequence[Any]]]:
        """Yield what a piece of a channel tells: a letter, and characters or pieces of calls."""
        match channel:
            case Channel.SAID if not self._markup.only_calls:
                yield "t", text
            case Channel.THOUGHT:
                yield "r", text
            case Channel.CALLED:
                self._body.append(text)
                yield "c", self._reader.push(text) if self._reader else ()
            case Channel.CALL_ENDS:
                body, self._body = "".join(self._body), []
                rest = self._reader.end() if self._reader else None
                self._called |= rest is not None
                start = self._markup.call[0] if self._markup.call else ""
                unread = "" if cut else f"{start}{body}{text}"  # as the model wrote it, where that is no call
                yield ("t", unread) if rest is None else ("c", rest)
