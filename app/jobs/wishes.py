"""What users want of models: that one comes into memory and stays there, or that one leaves.

A wish is a field of one hash, a model's latest one alone. It is in Redis
because the API hears it and the worker grants it, and so that a worker that
dies is followed by one that knows it. The worker looks there each time it
decides; a publication only makes it look sooner.

Nothing here says whether a wish can be granted. Where several workers share a
Redis, a model is in memory once one of them has it, and away once none has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from pydantic import BaseModel, ConfigDict

from app.errors import Failure
from app.jobs import keys
from app.jobs.connection import store_errors
from app.jobs.record import JobKind, JobState

if TYPE_CHECKING:
    from app.jobs.store import JobStore

__all__ = ["Use", "Wish", "Wishes"]

# A later wish must not be lost because an earlier one has just been granted.
_REPLACE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1
"""


class Wish(BaseModel):
    """What somebody wants of one model. Times are seconds since the epoch."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    want: Literal["resident", "absent"]
    at: float  # when it was said, by the clock of Redis
    keep_s: float | None = None  # how long it is to stay once it is there, inf: for ever; None: as long as any model does
    until: float | None = None  # how long it stays; None: it is not there yet
    error: Failure | None = None  # why it does not come
    ended_at: float | None = None  # when that was found


class Use(NamedTuple):
    """Jobs of a model that have not ended."""

    queued: int
    running: int
    downloads: int  # its files are being fetched, or are about to be

    @property
    def busy(self) -> bool:
        """Whether any of them needs the model itself."""
        return bool(self.queued or self.running)


class Wishes:
    """The wishes of one job store, and what stands against them. Synchronous and thread-safe."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._replace = store.client.register_script(_REPLACE)

    def say(self, model: str, want: Literal["resident", "absent"], keep_s: float | None = None) -> Wish:
        """Note a wish in place of any earlier one of *model*, and tell the workers."""
        with store_errors():
            wish = Wish(want=want, at=self._store.now(), keep_s=keep_s)
            pipe = self._store.client.pipeline(transaction=True)
            pipe.hset(keys.WISHES, model, wish.model_dump_json())
            pipe.publish(keys.CONTROL, f"wish {model}")
            pipe.execute()
        return wish

    def find(self, model: str) -> Wish | None:
        """Return what is wanted of *model*."""
        with store_errors():
            text = cast("str | None", self._store.client.hget(keys.WISHES, model))
        return None if text is None else Wish.model_validate_json(text)

    def all(self) -> dict[str, Wish]:
        """Return every wish by model."""
        with store_errors():
            texts = cast("dict[str, str]", self._store.client.hgetall(keys.WISHES))
        return {model: Wish.model_validate_json(text) for model, text in texts.items()}

    def replace(self, model: str, wish: Wish, new: Wish | None) -> None:
        """Put *new* in the place of *wish*, None to clear it; nothing where another wish stands there by now."""
        with store_errors():
            self._replace(keys=[keys.WISHES], args=[model, wish.model_dump_json(), "" if new is None else new.model_dump_json()])

    def forget(self, model: str) -> None:
        """Clear whatever is wanted of *model*."""
        with store_errors():
            self._store.client.hdel(keys.WISHES, model)

    def use_of(self, model: str) -> Use:
        """Return what uses *model*, or waits to."""
        pipe = self._store.client.pipeline(transaction=False)
        index = keys.model_index(model)
        queues = sorted(filter(keys.is_downloads, cast("set[str]", self._store.client.smembers(keys.QUEUES))))
        for queue in queues:
            pipe.zintercard(2, [keys.queue(queue), index])
        for children in (False, True):
            index = keys.model_index(model, children=children)
            pipe.zintercard(2, [keys.state_index(JobState.QUEUED, children=children), index])
            pipe.zinter([keys.state_index(JobState.RUNNING, children=children), index])
        with store_errors():
            *fetched, queued, running, queued_children, running_children = pipe.execute()
            fetching = sum(fetched)
            running += running_children
            for job_id in running:
                pipe.hget(keys.job(job_id), "kind")
            kinds = pipe.execute()
        loading = kinds.count(JobKind.DOWNLOAD)
        return Use(queued + queued_children - fetching, len(running) - loading, fetching + loading)
