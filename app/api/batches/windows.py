"""Which lines of a batch may begin: a bounded number of each model, so that all models' queues have some. Pure.

The scheduler sees work for every model that the batch still needs, and drains what is in memory before it swaps: a model's
lines go on coming for as long as it has some, wherever in the file they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence

__all__ = ["Windows"]

_OF_A_MODEL = 64  # some times what an engine has slots for
_OF_ALL_MODELS = 1024


class Windows:
    """The lines that have not ended.

    Args:
        model_of: Of each line, a number of its model.
        over: Lines that need no beginning.
        under_way: Lines that have begun and not ended, as far as is known.
    """

    def __init__(self, model_of: Sequence[int], over: Collection[int], under_way: Iterable[int]) -> None:
        self._model_of = model_of
        models = max(model_of, default=0) + 1
        self._width = max(1, min(_OF_A_MODEL, _OF_ALL_MODELS // models))
        self._waiting: list[deque[int]] = [deque() for _ in range(models)]
        self._under_way: list[set[int]] = [set() for _ in range(models)]
        for number, model in enumerate(model_of):
            if number not in over:
                self._waiting[model].append(number)
        for number in under_way:
            self._under_way[model_of[number]].add(number)

    def take(self, at_most: int) -> list[int]:
        """Return lines that may begin now, in turn for each model; from now on they are under way."""
        found: list[int] = []
        before = -1
        while before < len(found) < at_most:
            before = len(found)
            for waiting, under_way in zip(self._waiting, self._under_way, strict=True):
                if waiting and len(under_way) < self._width and len(found) < at_most:
                    under_way.add(waiting[0])
                    found.append(waiting.popleft())
        return found

    def give_back(self, numbers: Sequence[int]) -> None:
        """Have lines that were taken wait again, before the others."""
        for number in reversed(numbers):
            self.end(number)
            self._waiting[self._model_of[number]].appendleft(number)

    def end(self, number: int) -> None:
        """Let another line have the place of one that has ended."""
        self._under_way[self._model_of[number]].discard(number)

    @property
    def any_under_way(self) -> bool:
        """Whether a line has begun and not ended."""
        return any(self._under_way)

    @property
    def all_ended(self) -> bool:
        """Whether nothing is left to be done."""
        return not any(self._waiting) and not self.any_under_way
