"""One answer as it grows: its tokens, its text, and whether it has ended.

Knows no mlx. The same ids always give the same text and the same end, so an
answer that an earlier attempt began is taken up by replaying its ids.
"""

from __future__ import annotations

from collections.abc import Callable

from app.engines.detokenize import Detokenizer
from app.engines.lm_library import StopMatcher
from app.engines.protocols import FinishReason, TextWork
from app.engines.repetition import loops

__all__ = ["Answer"]


class Answer:
    """The answer to one piece of work.

    Attributes:
        ids: Its tokens so far, those of an earlier attempt included.
        finish: Why it ended, None while it has not.
        cached_tokens: Of the prompt, taken from the prefix cache.
        alone: Whether nothing else of the engine may share a slice with it.
        prefilled: Whether ``Prefilled`` was reported.
        looped: Whether it ended because it repeated itself.
    """

    def __init__(self, work: TextWork, detokenizer: Callable[[], Detokenizer], eos_token_ids: frozenset[int]) -> None:
        self.work = work
        self.ids: list[int] = []
        self.finish: FinishReason | None = None
        self.cached_tokens = 0
        self.alone = work.alone
        self.prefilled = False
        self.looped = False
        self._eos_token_ids = eos_token_ids
        self._detokenizer = detokenizer()
        self._stops = StopMatcher(work.stop)
        for token in work.published:
            if self.finish is None:
                self.take(token)

    @property
    def tokens(self) -> list[int]:
        """What the model must have read before the next token: prompt and answer so far."""
        return [*self.work.prompt, *self.ids]

    @property
    def missing(self) -> int:
        """How many tokens the answer may still have."""
        return self.work.max_tokens - len(self.ids)

    def take(self, token: int) -> str:
        """Add *token* and return the text that may be shown now.

        The end-of-sequence token counts and has no text. A stop string ends the answer before itself; at
        any other end the text held back comes out.
        """
        self.ids.append(token)
        ended = token in self._eos_token_ids
        self.looped = not ended and self.work.ends_loops and loops(self.ids)
        text = "" if ended else self._stops.push(self._detokenizer.push(token))
        over = self.looped or self.missing <= 0
        if not self._stops.stopped and (ended or over):
            text += self._stops.push(self._detokenizer.finish()) + self._stops.flush()
        if ended or self._stops.stopped:
            self.finish = "stop"
        elif over:
            self.finish = "length"
        return text
