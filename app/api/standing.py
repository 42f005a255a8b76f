"""What a stream says while nothing comes of its job: where the job stands, or only that the stream lives.

These are comments of server-sent events, which clients ignore: a line for
people who look at the stream, and for programs that know it. It names the
model and nothing of the request.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from fastapi.sse import format_sse_event

from app.api.sse import KEEP_ALIVE, with_pauses

if TYPE_CHECKING:
    from app.api.services import Pace
    from app.jobs.glances import Glances
    from app.jobs.record import Job
    from app.jobs.streams import StreamEntry

__all__ = ["waiting_line", "with_comments"]


async def with_comments(
    entries: AsyncIterator[StreamEntry], glances: Glances, job_id: str, pace: Pace, *, first_s: float
) -> AsyncGenerator[StreamEntry | bytes]:
    """Yield *entries*, and comments as frames whenever there was nothing else to send.

    Args:
        entries: What comes of the job.
        glances: Look at it.
        job_id: Which it is.
        pace: How often something is said.
        first_s: For so long there are no comments: the stream has not begun, and an error still gets a status of its own.
    """
    standing = _Standing(glances, job_id, pace, first_s)
    async with aclosing(with_pauses(entries, first_s=min(first_s, pace.tick_s), then_s=pace.tick_s)) as paced:
        async for entry in paced:
            if entry is not None:
                standing.heard(entry)
                yield entry
            elif comment := await standing.comment():
                yield comment


class _Standing:
    """The comments of one stream."""

    def __init__(self, glances: Glances, job_id: str, pace: Pace, first_s: float) -> None:
        self._glances = glances
        self._job_id = job_id
        self._pace = pace
        self._from_s = time.monotonic() + first_s
        self._look_s = self._from_s
        self._spoke_s = -math.inf
        self._waits = True
        self._told = ""

    def heard(self, entry: StreamEntry) -> None:
        """Take note of what came of the job."""
        self._waits = entry.type in {"state", "child"}  # it may be back in its queue; others of its children may wait
        if not self._waits:
            self._spoke_s = time.monotonic()

    async def comment(self) -> bytes | None:
        """Return what is to be said after a while in which nothing came; None: nothing yet."""
        now = time.monotonic()
        if now < self._from_s:
            return None
        line = ""
        if self._waits and now >= self._look_s:
            self._look_s = now + self._pace.look_s
            line = await self._line()
        if line and line != self._told:
            self._told, self._spoke_s = line, now
            return format_sse_event(comment=line)
        if now - self._spoke_s < self._pace.keep_alive_s:
            return None
        self._spoke_s = now
        return KEEP_ALIVE

    async def _line(self) -> str:
        job = await self._glances.at(self._job_id)
        self._waits = job is None or job.waiting_for is not None
        return waiting_line(job) if job else ""


def waiting_line(job: Job) -> str:
    """Return why a job waits and where, on one line; nothing of a job that does not wait."""
    waiting = job.waiting_for
    if waiting is None:
        return ""
    estimate_s = None if waiting.estimate_s is None else round(waiting.estimate_s)
    facts = {"position": job.position, "reason": waiting.reason, "estimate_s": estimate_s}
    told = [f"{name}={fact}" for name, fact in facts.items() if fact is not None]
    return " ".join(["waiting", *told, *waiting.detail.split()])
