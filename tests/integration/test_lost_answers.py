"""A worker whose way to Redis breaks after a request arrived and before its answer did says it again, and nothing happens twice."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from app.jobs import keys
from app.jobs.gateway import JobGateway
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.integration.machines import Machine, catalog, eventually
from tests.integration.test_worker_crashes import answer, first_tokens

_QUIET_S = 0.3  # tokens come every few milliseconds


def test_tokens_that_are_said_again_after_a_lost_answer_are_heard_once(settings: Settings, store: JobStore, private_folder: Path) -> None:
    shared = settings.model_copy(update={"catalog": catalog(private_folder, "north")})
    machine = Machine(shared, private_folder, "far", fit=1)
    machine.worker.start()
    request = {"messages": [{"role": "user", "content": "say 600"}]}
    new = NewJob(kind=JobKind.CHAT, model="north", lane=Lane.INTERACTIVE, request=request, waited=False)

    def said() -> int:
        return int(store.client.xlen(keys.tokens(new.id)))

    def is_stuck() -> bool:
        before = said()
        time.sleep(_QUIET_S)
        return said() == before

    def lose_answers() -> None:
        for _ in range(2):
            machine.way.deaf_to = b'"ids"'  # of what is published
            eventually(is_stuck, "it waits for an answer that is lost")
            machine.way.cut()
            machine.way.mend()
            before = said()
            eventually(lambda: said() > before, "it goes on")  # noqa: B023 - called here

    async def scenario() -> str:
        gateway = await JobGateway.open(settings)
        await gateway.submit(new)
        try:
            await first_tokens(gateway, new)
            await asyncio.to_thread(lose_answers)
            return "".join([entry.text async for entry in gateway.follow(new.id)])
        finally:
            await gateway.close()

    try:
        text = asyncio.run(scenario())
    finally:
        machine.close()
    record = store.get(new.id)
    assert record.state is JobState.SUCCEEDED
    assert record.attempt == 1
    assert text == record.output["choices"][0]["message"]["content"] == answer(600)
