"""Sees to one batch: checks its file, feeds its lines, collects what comes of them, and writes the result files.

What a clerk knows it has from the job store and the input file, and what it has done is there. So it may be killed at any
moment: the next one checks the file again and goes on. Lines are read, checked and answered a few at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from app.api.batches.collecting import Collecting
from app.api.batches.input import BatchInput, UnusableInput, scan
from app.api.batches.lines import job_of_line, model_of_body
from app.api.batches.windows import Windows
from app.api.batches.writing import write_results
from app.errors import Failure, InferenceError, JobNotFound, QueueFull, StoreUnavailable
from app.jobs.batch_record import BatchError, BatchRecord, Outcome
from app.jobs.batches import LEASE_S, Batches, ClerkId, Collected, Line
from app.jobs.record import TERMINAL, JobState
from app.log import get_logger
from app.named_keys import Caller, Scope

if TYPE_CHECKING:
    from app.api.services import Services

__all__ = ["BatchClerk"]

log = get_logger("batches")

T = TypeVar("T")
_AT_ONCE = 32  # lines that are fed together
_MOST_BYTES = 16 * 1024**2  # of these, unless one alone has more: they are in memory, and then in one message to Redis
_LOOK_S = 2.0  # however quiet it is
_AGAIN_S = 1.0
_BROKEN = Failure(code="internal_error", message="The server failed on this request; its log has the cause.")

_GONE = BatchError(code="input_file_gone", message="The file's content is not here any more.")


class _Refused(NamedTuple):
    """A line that no job can be made of."""

    custom_id: str
    failure: Failure


class BatchClerk:
    """One batch, for as long as this process sees to it.

    Args:
        services: Of this process.
        name: Of this clerk.
    """

    def __init__(self, services: Services, name: ClerkId) -> None:
        self._services = services
        self._name = name
        self._changed = asyncio.Event()

    async def take(self) -> None:
        """Become the batch's clerk.

        Raises:
            NoLongerClerk: Another process sees to it.
            StoreUnavailable: Redis does not answer.
        """
        await self._do(lambda batches: batches.attend(self._name))

    async def attend(self) -> None:
        """See to the batch until it is settled; then, or when that fails, another one may.

        Raises:
            ExceptionGroup: Of NoLongerClerk: another process sees to it; or StoreUnavailable: Redis does not answer.
        """
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(self._renew()), group.create_task(self._listen())]
                await self._work()
                for task in beside:
                    task.cancel()
        finally:
            with contextlib.suppress(StoreUnavailable):
                await asyncio.shield(self._do(lambda batches: batches.leave(self._name)))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 3)
            with contextlib.suppress(StoreUnavailable):
                await self._do(lambda batches: batches.attend(self._name))

    async def _listen(self) -> None:
        """Take note of whatever happens to the batch; it is looked at all the same, should this miss something."""
        while True:
            with contextlib.suppress(StoreUnavailable, JobNotFound):
                async with aclosing(self._services.gateway.follow(self._name.batch)) as entries:
                    async for _ in entries:
                        self._changed.set()
            self._changed.set()
            await asyncio.sleep(_AGAIN_S)

    async def _do(self, work: Callable[[Batches], T]) -> T:
        return await self._services.gateway.batches(work)

    async def _work(self) -> None:
        batch = self._name.batch
        record = await self._record()
        if record.owner is not None:  # what lines read, and what is written of them, is its submitter's
            gateway = self._services.gateway.as_seen_by(Caller(record.owner, Scope.INFERENCE))
            self._services = replace(self._services, gateway=gateway)
        if record.state is JobState.CANCELED and record.total is None:  # before its lines were counted
            await self._do(lambda batches: batches.settle(self._name, Outcome(completed=0, failed=0)))
            return
        try:
            lines = await asyncio.to_thread(self._scan, record)
        except UnusableInput as unusable:
            await self._refuse(unusable)
            return
        except FileNotFoundError:
            await self._give_up(record)
            return
        model = lines.models[0] or None if len(lines.models) == 1 else None
        await self._do(lambda batches: batches.begin(self._name, len(lines), model))
        log.info("batch.attended", batch=batch, lines=len(lines), models=len(lines.models))
        await self._go_on(record.request["endpoint"], lines)
        await self._settle(lines)

    async def _refuse(self, unusable: UnusableInput) -> None:
        first, errors = unusable.errors[0], unusable.errors
        where = f"line {first.line}: " if first.line else ""
        told = Failure(code="invalid_request", message=f"The file cannot be used: {where}{first.message}", param="input_file_id")
        await self._do(lambda batches: batches.refuse(self._name, told, errors))
        log.info("batch.refused", batch=self._name.batch, errors=len(errors))

    async def _give_up(self, record: BatchRecord) -> None:
        """End a batch whose file has left the spool, which is nobody's right: nothing can be asked or said of its lines any more."""
        log.error("batch.input_gone", batch=self._name.batch)
        if record.state is JobState.QUEUED:
            await self._refuse(UnusableInput((_GONE,)))
            return
        await self._services.gateway.cancel(self._name.batch)
        while ended := await self._do(lambda batches: batches.ended(self._name.batch)):
            some = Collected(None, [line.number for line in ended[:_AT_ONCE]], [], {})
            await self._do(partial(self._collected, some))
        await self._do(lambda batches: batches.settle(self._name, Outcome(completed=0, failed=record.total or 0)))

    def _collected(self, some: Collected, batches: Batches) -> None:
        batches.collect(self._name, some)

    async def _record(self) -> BatchRecord:
        return await self._do(lambda batches: batches.get(self._name.batch))

    def _scan(self, record: BatchRecord) -> BatchInput:
        catalog, endpoint = self._services.catalog, record.request["endpoint"]
        path = self._services.gateway.path_of(record.input_blob)
        return scan(path, endpoint, partial(model_of_body, catalog, endpoint), int(self._services.settings.max_body))

    async def _go_on(self, endpoint: str, lines: BatchInput) -> None:
        """Feed and collect until every line has been answered, or the batch has ended before."""
        over = await self._do(lambda batches: batches.fed(self._name.batch))
        living = await self._do(lambda batches: batches.living(self._name.batch))
        windows = Windows(lines.model_of, over, living)
        collecting = Collecting(self._services, self._name, endpoint, lines)
        while True:
            self._changed.clear()
            has_ended = (await self._record()).state in TERMINAL
            # Looked for after that: a batch that has ended has ended its lines with it.
            for number in await collecting.look():
                windows.end(number)
            await collecting.collect(now=has_ended or windows.all_ended)
            if has_ended or windows.all_ended:
                return
            may_feed_more = await self._feed(endpoint, lines, windows, collecting)
            if not (may_feed_more or windows.all_ended):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._changed.wait()

    async def _feed(self, endpoint: str, lines: BatchInput, windows: Windows, collecting: Collecting) -> bool:
        """Let a few lines begin, and return whether more may at once: the batch is looked at between, for each may take its time.

        Where nothing more can be kept at present, that is tried again at the next look.
        """
        numbers = windows.take(_AT_ONCE)
        sizes = accumulate(map(lines.size, numbers))
        few = max(1, sum(size <= _MOST_BYTES for size in sizes))
        windows.give_back(numbers[few:])
        numbers = numbers[:few]
        # Together, because one may have to fetch a picture.
        made = await asyncio.gather(*(self._made(endpoint, lines, number) for number in numbers))
        for number, one in zip(numbers, made, strict=True):
            if isinstance(one, _Refused):
                collecting.refuse(number, one.custom_id, one.failure)
                windows.end(number)
        ready = [one for one in made if isinstance(one, Line)]
        if ready:
            await self._do(partial(self._fed, ready))
        windows.give_back([number for number, one in zip(numbers, made, strict=True) if one is None])
        return bool(numbers) and None not in made

    async def _made(self, endpoint: str, lines: BatchInput, number: int) -> Line | _Refused | None:
        """Return a line's job, or why there can be none; None: there is no room for it at present."""
        request = await asyncio.to_thread(lines.read, number)
        try:
            await self._services.gateway.check_room()
            return Line(number, await job_of_line(self._services, endpoint, request["body"]))
        except StoreUnavailable:
            raise
        except QueueFull:
            return None
        except InferenceError as error:
            return _Refused(request["custom_id"], error.as_fact())
        except Exception as error:  # one line that trips a defect of ours must not stop all others
            log.exception("batch.line_broke", batch=self._name.batch, line=number, error=type(error).__name__)
            return _Refused(request["custom_id"], _BROKEN)

    def _fed(self, ready: list[Line], batches: Batches) -> None:
        batches.feed(self._name, ready)

    async def _settle(self, lines: BatchInput) -> None:
        await self._do(lambda batches: batches.finalize(self._name))
        record = await self._record()
        parts = await self._do(lambda batches: batches.parts(self._name.batch))
        paths = [self._services.gateway.path_of(part) for part in parts]
        outcome = await self._services.gateway.files(lambda files: write_results(files, record, lines, paths))
        await self._do(lambda batches: batches.settle(self._name, outcome))
        log.info("batch.settled", batch=self._name.batch, **outcome.model_dump(include={"completed", "failed"}))
