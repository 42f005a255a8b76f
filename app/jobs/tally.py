"""What one process has counted. Thread-safe, and cheap enough for every token: a dictionary under a lock, no I/O.

A worker's numbers travel to Redis with its heartbeat (:class:`Courier`), where all
workers' are one. A worker that is killed takes what it counted since its last
heartbeat with it; nothing is counted twice.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app.jobs import keys
from app.jobs.series import LE, SUM, Cell, Series, field_of

if TYPE_CHECKING:
    import redis

__all__ = ["Courier", "Tally"]

# KEYS: the numbers, the worker's hash. ARGV: which delivery it is, then fields and what is added to each.
_ADD = """
if tonumber(redis.call('HGET', KEYS[2], 'told') or 0) >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[2], 'told', ARGV[1])
for i = 2, #ARGV, 2 do redis.call('HINCRBYFLOAT', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
"""


class Tally:
    """Counters and histograms of this process."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, tuple[str, ...]], float] = {}
        self._histograms: dict[tuple[str, tuple[str, ...]], tuple[Series, list[float]]] = {}  # values in each bucket, then their sum
        self._lock = threading.Lock()

    def count(self, series: Series, *labels: str, by: float = 1) -> None:
        """Add to a counter."""
        name = (series.name, labels)
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + by

    def observe(self, series: Series, *labels: str, value: float, times: int = 1) -> None:
        """Put a value into its bucket of a histogram."""
        name, bucket = (series.name, labels), bisect_left(series.buckets, value)
        with self._lock:
            known = self._histograms.get(name)
            if known is None:
                known = self._histograms[name] = (series, [0] * (len(series.buckets) + 2))
            known[1][bucket] += times
            known[1][-1] += value * times

    def numbers(self) -> dict[Cell, float]:
        """Return what has been counted, and go on."""
        with self._lock:
            return self._cells()

    def take(self) -> dict[Cell, float]:
        """Return what has been counted, and begin anew."""
        with self._lock:
            taken = self._cells()
            self._counters.clear()
            self._histograms.clear()
        return taken

    def _cells(self) -> dict[Cell, float]:
        cells = {Cell(*name): number for name, number in self._counters.items()}
        for name, (series, (*buckets, total)) in self._histograms.items():
            cells |= {Cell(*name, LE, bound): count for bound, count in zip(series.bounds, buckets, strict=True) if count}
            cells[Cell(*name, SUM)] = total
        return cells


class Courier:
    """Carries a worker's tally to Redis; a delivery that is repeated after a lost answer counts once. For one thread.

    Args:
        client: Of the job store.
        worker_id: Whose; an id is never used again.
        tally: What is carried.
    """

    def __init__(self, client: redis.Redis, worker_id: str, tally: Tally) -> None:
        self._add = client.register_script(_ADD)
        self._worker = keys.worker(worker_id)
        self._tally = tally
        self._number = 0
        self._load: Mapping[Cell, float] = {}

    def queue(self, pipe: Any) -> None:  # noqa: ANN401 - a redis pipeline
        """Add a delivery to *pipe*: what an earlier one could not deliver, else what is new."""
        if not self._load:
            self._load = self._tally.take()
            self._number += 1
        if self._load:
            added: list[str | int | float] = [part for cell, by in self._load.items() for part in (field_of(cell), repr(by))]
            self._add(keys=[keys.METRICS, self._worker], args=[self._number, *added], client=pipe)

    def delivered(self) -> None:
        """Note that *pipe* was carried out."""
        self._load = {}
