"""What a worker says of itself in Redis: that it lives, its memory, each model's state and how that changes, and what it has counted.

Other workers decide by some of that; when it changes they are told to look.

The hash has a TTL; while it is there, the worker counts as alive for workers
of other homes and for everybody who looks.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import redis

from app import __version__
from app.jobs import keys
from app.jobs.loads import Loads
from app.jobs.machines import Machine, queue_machine
from app.jobs.memory_log import MemoryLog
from app.jobs.tally import Courier, Tally
from app.jobs.work import WORK_VERSION
from app.log import get_logger
from app.own_process import own_process

if TYPE_CHECKING:
    from app.jobs.decoding import ModelState
    from app.jobs.store import JobStore

__all__ = ["Presence"]

log = get_logger("worker.presence")

_TTL_S = 30
_BEAT_S = 5.0
_NOTE_EVERY_S = 60.0
_PAUSE_S = 0.05  # between two beats: news that come together are said together


class Presence:
    """This worker's entry among the workers, said by a thread of its own: a report never waits for Redis.

    Args:
        store: The job store.
        worker_id: This worker's.
        tally: What it counts, carried to the store with each beat.
        loads: Its claims of loads, which end as it is said what came of them.
        remote: The jobs are on another machine.
    """

    def __init__(
        self, store: JobStore, worker_id: str, tally: Tally | None = None, loads: Loads | None = None, *, remote: bool = False
    ) -> None:
        self._store = store
        self._loads = loads or Loads(store, worker_id)
        self._courier = Courier(store.client, worker_id, tally or Tally())
        self._worker_id = worker_id
        self._memory_log = MemoryLog(worker_id)
        self._models: dict[str, ModelState] = {}
        self._rates: dict[str, float] = {}  # bytes a second, of each download
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)
        self._facts: dict[Any, Any] = {
            "home": worker_id.partition("-")[0],
            "pid": os.getpid(),
            "version": __version__,
            "host": socket.gethostname(),
            "remote": int(remote),
            "work_version": WORK_VERSION,
        }
        self._told: object = None  # of what others decide by
        self._noted_s = 0.0  # when it was last noted what this machine has, for when it is away

    def start(self) -> None:
        """Go on beating."""
        self._thread.start()

    def _run(self) -> None:
        while not self._leaving.is_set():
            self._news.wait(_BEAT_S)
            self._news.clear()
            if not self._leaving.is_set():
                self.beat()
                self._leaving.wait(_PAUSE_S)

    def report(self, model: str, state: ModelState | None) -> None:
        """Note a model's state, None when it is gone. It is said at once, by another thread."""
        with self._lock:
            if state is None:
                self._models.pop(model, None)
            else:
                self._models[model] = state
        self._news.set()

    def report_download(self, model: str, state: ModelState | None) -> None:
        """Note how far a model's download is, None when it is over; what is known of the model itself comes before that."""
        with self._lock:
            known = self._models.get(model)
        if known is None or known.state == "downloading" or (known.state == "failed" and state is not None):
            self.report(model, state)

    def report_memory(self, used_bytes: int, budget_bytes: int, taken_bytes: int = 0, *, short: bool) -> None:
        """Note how much of their budget models use and other programs have, and whether the machine is short of memory."""
        memory = {"used_bytes": used_bytes, "budget_bytes": int(budget_bytes), "taken_bytes": taken_bytes, "memory_short": int(short)}
        with self._lock:
            self._facts |= memory
        self._news.set()

    def report_narrowing(self, batch_waits: str) -> None:
        """Note why no batch work begins, in a word; empty: it may."""
        with self._lock:
            self._facts["batch_waits"] = batch_waits
        self._news.set()

    def report_rate(self, model: str, bytes_per_s: float | None) -> None:
        """Note how quickly a model's files come, None when they do not any more; said with the next beat."""
        with self._lock:
            if bytes_per_s is None:
                self._rates.pop(model, None)
            else:
                self._rates[model] = bytes_per_s

    def report_stock(self, has: Mapping[str, int], fetches: Collection[str]) -> None:
        """Note which models could be loaded here and what a load of each needs, and which ones could be downloaded."""
        stock = {"has": json.dumps(dict(sorted(has.items()))), "fetches": json.dumps(sorted(fetches))}
        with self._lock:
            told = self._facts.items() >= stock.items()
            self._facts |= stock
        if not told:
            self._news.set()

    def hasten(self) -> None:
        """Say everything again soon."""
        self._news.set()

    def beat(self) -> None:
        """Say everything again, and live for another half minute."""
        process = own_process()
        over = self._loads.over()  # before the states: those say what came of these loads
        with self._lock:
            downloads = {"downloads": len(self._rates), "download_bytes_per_s": round(sum(self._rates.values()))}
            facts = self._facts | process._asdict() | downloads
            known = dict(self._models)
        models: dict[Any, Any] = {model: state.model_dump_json() for model, state in known.items()}
        pipe = self._store.client.pipeline(transaction=True)
        pipe.time()
        pipe.hset(keys.worker(self._worker_id), mapping=facts)
        pipe.expire(keys.worker(self._worker_id), _TTL_S)
        pipe.sadd(keys.WORKERS, self._worker_id)
        pipe.delete(keys.models_of(self._worker_id))
        if models:
            pipe.hset(keys.models_of(self._worker_id), mapping=models)
            pipe.expire(keys.models_of(self._worker_id), _TTL_S)
        self._loads.queue(pipe, over)
        self._courier.queue(pipe)
        self._memory_log.queue(pipe, known, int(facts.get("used_bytes", 0)), int(facts.get("budget_bytes", 0)))
        moves = {model: (state.state, bool(state.reason)) for model, state in known.items() if state.state in {"loading", "resident"}}
        told = (moves, facts.get("has"), facts.get("fetches"), facts.get("budget_bytes"))
        if over or told != self._told:
            pipe.publish(keys.CONTROL, f"worker {self._worker_id}")
        noted = self._note_machine(pipe, facts, changed=told != self._told)
        asked_at = time.time()
        try:
            (seconds, micros), *_ = pipe.execute()
            self._told = told
            self._noted_s = time.monotonic() if noted else self._noted_s
            self._note_clock((asked_at + time.time()) / 2 - (seconds + micros / 1e6))
            self._loads.delivered(over)
            self._courier.delivered()
            self._memory_log.delivered()
        except redis.RedisError as error:
            self._told = None  # whoever took this worker for dead has to look again
            log.warning("presence.unsaid", error=type(error).__name__)

    def _note_machine(self, pipe: Any, facts: Mapping[Any, Any], *, changed: bool) -> bool:  # noqa: ANN401 - a redis pipeline
        """Note what this machine has, for when it is away: where that changed, and now and then. Return whether it was done."""
        if "has" not in facts or not (changed or time.monotonic() - self._noted_s >= _NOTE_EVERY_S):
            return False
        seen_at = time.time() - facts.get("clock_offset_s", 0.0)
        machine = Machine(seen_at=seen_at, budget_bytes=facts.get("budget_bytes"), has=json.loads(facts["has"]))
        queue_machine(pipe, facts["home"], machine)
        return True

    def _note_clock(self, offset_s: float) -> None:
        with self._lock:
            self._facts["clock_offset_s"] = round(offset_s, 3)

    def leave(self) -> None:
        """Say goodbye."""
        self._leaving.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        pipe = self._store.client.pipeline(transaction=True)
        self._courier.queue(pipe)
        pipe.delete(keys.worker(self._worker_id), keys.models_of(self._worker_id))
        pipe.srem(keys.WORKERS, self._worker_id)
        self._memory_log.queue_leave(pipe)
        pipe.publish(keys.CONTROL, f"worker {self._worker_id}")
        try:
            pipe.execute()
        except redis.RedisError as error:
            log.warning("presence.unsaid", error=type(error).__name__)
