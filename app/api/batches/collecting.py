"""What came of a batch's lines, gathered: from the records of jobs that have ended, which are forgotten then, into the spool.

Results wait here until there are many, or some have waited for a while, because each *part* is a file of its own and synced.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.api.batches.lines import answer_of
from app.api.batches.results import LineName, answered, as_part, failed
from app.errors import Failure, InferenceError, StoreUnavailable
from app.jobs.batches import Collected
from app.jobs.record import TERMINAL, JobState

if TYPE_CHECKING:
    from app.api.batches.input import BatchInput
    from app.api.services import Services
    from app.jobs.batches import ClerkId, EndedLine

__all__ = ["Collecting"]

_MANY = 256
_MOST_JOBS = 1000  # that are forgotten at once, children too: Redis does nothing else meanwhile
_MOST_BYTES = 32 * 1024**2
_WAITED_S = 2.0


class Collecting:
    """The results of one batch that are not in the spool yet.

    Args:
        services: Of this process.
        name: Of the batch's clerk.
        endpoint: Of its lines.
        lines: As they were asked.
    """

    def __init__(self, services: Services, name: ClerkId, endpoint: str, lines: BatchInput) -> None:
        self._services = services
        self._name = name
        self._shown = answer_of(endpoint)
        self._lines = lines
        self._ended: list[EndedLine] = []
        self._refusals: dict[int, bytes] = {}
        self._collected_s = time.monotonic()

    @property
    def refused(self) -> set[int]:
        """Lines that were refused and are not in the spool yet."""
        return set(self._refusals)

    def refuse(self, number: int, custom_id: str, failure: Failure) -> None:
        """Take the result of a line that no job can be made of."""
        result = failed(LineName(self._name.batch, number, custom_id), failure)
        self._refusals[number] = as_part(number, result, is_answer=False)

    async def look(self) -> list[int]:
        """Return the lines that have ended since the last look; they are to be collected now."""
        seen = len(self._ended)
        found = await self._services.gateway.batches(lambda batches: batches.ended(self._name.batch, after=seen))
        self._ended += found
        return [line.number for line in found]

    async def collect(self, *, now: bool) -> None:
        """Put results into the spool, where there are many; *now*: however few there are."""
        while waiting := len(self._ended) + len(self._refusals):
            if not (now or waiting >= _MANY or time.monotonic() - self._collected_s >= _WAITED_S):
                return
            await self._collect_some()
        self._collected_s = time.monotonic()

    async def _collect_some(self) -> None:
        refused, made = list(self._refusals), list(self._refusals.values())
        some = self._ended[:_MANY]
        took_along = await self._took_along(some)
        took: list[int] = []
        usage = Counter[str]()
        size, jobs = 0, 0
        for line in some:
            if size > _MOST_BYTES or jobs > _MOST_JOBS:
                break
            took.append(line.number)
            jobs += 1 + line.children
            if not (took_along and line.state is JobState.CANCELED):
                made.append(await self._result_of(line))
                usage.update(_counted(line.usage))
                size += len(made[-1])
        part = await self._services.gateway.hold(made, holder=self._name.batch) if made else None
        collected = Collected(part, took, refused, usage)
        await self._services.gateway.batches(lambda batches: batches.collect(self._name, collected))
        del self._ended[: len(took)]
        for number in refused:
            del self._refusals[number]
        self._collected_s = time.monotonic()

    async def _took_along(self, lines: Sequence[EndedLine]) -> bool:
        """Whether the batch has ended, and so has cancelled those of *lines* that are: nothing came of these."""
        if not any(line.state is JobState.CANCELED for line in lines):
            return False
        record = await self._services.gateway.batches(lambda batches: batches.get(self._name.batch))
        return record.state in TERMINAL

    async def _result_of(self, ended: EndedLine) -> bytes:
        request = await asyncio.to_thread(self._lines.read, ended.number)
        line = LineName(self._name.batch, ended.number, request["custom_id"])
        try:
            result = answered(line, await self._shown(self._services.gateway, line.request_id))
        except StoreUnavailable:
            raise
        except InferenceError as error:
            return as_part(ended.number, failed(line, error.as_fact()), is_answer=False)
        return as_part(ended.number, result, is_answer=True)


def _counted(usage: Mapping[str, Any]) -> dict[str, int]:
    """Return what an answer took, under the names that a batch's sum has. What has no tokens is not counted."""
    prompt, completion = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return {
        "input_tokens": usage.get("prompt_tokens", 0),
        "cached_tokens": prompt.get("cached_tokens", 0),
        "output_tokens": usage.get("completion_tokens", 0),
        "reasoning_tokens": completion.get("reasoning_tokens", 0),
    }
