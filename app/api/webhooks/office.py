"""All deliveries that are due: this process tries those that no other process is trying.

At most so many at once, and of one receiver fewer: one that hangs leaves room for all others. What is under way when this
process stops is given back; when it is killed, another one takes it after a lease, so a receiver may get an event twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from app.api.webhooks.asking import rules_of
from app.api.webhooks.sending import Sent, send, type_of
from app.errors import Failure, StoreUnavailable
from app.log import get_logger
from app.webhook_secret import webhook_secrets

if TYPE_CHECKING:
    from app.api.services import Services
    from app.jobs.deliveries import Deliveries, Delivery

__all__ = ["WebhookOffice"]

log = get_logger("webhooks")

_AT_ONCE = 32
_OF_ONE_RECEIVER = 4
_BROKEN = Sent(failure=Failure(code="internal_error", message="The server failed on this delivery; its log has the cause."))


class WebhookOffice:
    """The deliveries of one process, from the beginning of a block to its end."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._tries = services.pace.webhooks
        self._luck = random.SystemRandom()
        self._under_way: dict[asyncio.Task[None], Delivery] = {}
        self._has_room = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        """Begin to look."""
        self._looking = asyncio.create_task(self._look())

    async def __aexit__(self, *_: object) -> None:
        """Give back what is under way: other processes, or this one's next start, try it at once."""
        left = dict(self._under_way)
        tasks = [*([self._looking] if self._looking else ()), *left]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(StoreUnavailable):
            for delivery in left.values():
                await self._services.gateway.deliveries(partial(_give_back, delivery))

    async def _look(self) -> None:
        while True:
            self._has_room.clear()
            try:
                await self._take_on()
            except StoreUnavailable:
                log.debug("webhooks.no_store")
            except Exception as error:  # the task's boundary: what one look trips over must not end all deliveries of this process
                log.exception("webhooks.broke", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._tries.look_s):
                    await self._has_room.wait()

    async def _take_on(self) -> None:
        most = _AT_ONCE - len(self._under_way)
        busy = Counter(delivery.told.receiver for delivery in self._under_way.values())
        if most:
            lease_s = self._tries.lease_s
            due = await self._services.gateway.deliveries(
                lambda store: store.take(most=most, most_each=_OF_ONE_RECEIVER, busy=busy, lease_s=lease_s)
            )
            for delivery in due:
                task = asyncio.create_task(self._see_to(delivery))
                self._under_way[task] = delivery
                task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._has_room.set()

    async def _see_to(self, delivery: Delivery) -> None:
        """Try a delivery and note what came of it. Where that cannot be noted, its lease ends and it is tried again."""
        try:
            secrets = await asyncio.to_thread(webhook_secrets, self._services.settings.home)
            sent = await send(delivery.told, secrets, rules_of(self._services.settings), self._tries.longest_s)
        except Exception as error:  # the task's boundary: a defect of ours, or an unreadable secret, is a try that failed
            log.exception("webhook.broke", delivery=delivery.id, error=type(error).__name__)
            sent = _BROKEN
        with contextlib.suppress(StoreUnavailable):
            await self._note(delivery, sent)

    async def _note(self, delivery: Delivery, sent: Sent) -> None:
        deliveries, told, failure = self._services.gateway.deliveries, delivery.told, sent.failure
        facts = {"delivery": delivery.id, "job": told.job, "type": type_of(told), "attempt": delivery.attempt}
        if failure is None:
            if await deliveries(lambda store: store.delivered(delivery, sent.status)):
                log.info("webhook.delivered", **facts)
            return
        wait_s = self._tries.wait_s(delivery.attempt, delivery.age_s, sent.retry_after_s, self._luck.random())
        if sent.is_final or wait_s is None:
            if await deliveries(lambda store: store.given_up(delivery, failure)):
                log.info("webhook.failed", **facts, code=failure.code, reason=failure.message)
        elif await deliveries(lambda store: store.put_back(delivery, wait_s, failure)):
            log.debug("webhook.put_back", **facts, code=failure.code, reason=failure.message, wait_s=round(wait_s, 1))


def _give_back(delivery: Delivery, deliveries: Deliveries) -> None:
    deliveries.put_back(delivery, 0.0)
