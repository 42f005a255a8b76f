"""The job system by itself: what a job costs that does nothing. No model is loaded and no HTTP is spoken."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from app.jobs.broker import Announcer, InferenceBroker
from app.jobs.claims import Unannounced, Unclaimed
from app.jobs.connection import connect, redis_url
from app.jobs.keys import queue_name
from app.jobs.record import TERMINAL, Job, JobKind, JobState, Lane
from app.jobs.spool import Spool
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from bench.homes import bench_settings, environment, instant_catalog, one_home
from bench.report import Figure, at_least, at_most, median, percentile, ratio

if TYPE_CHECKING:
    from bench.__main__ import Bench

__all__ = ["NOTE", "Client", "newest", "redis", "redis_address", "run", "worker"]

_NAME = "queue"
NOTE = (
    "An engine that ends everything in its next step. Enqueue to start is started_at - created_at of the record, by Redis's clock. "
    "No-op jobs/s: all are queued, then a worker starts; from the first start to the last end. Claims at different depths take turns."
)
_REQUEST = {"messages": [{"role": "user", "content": "Nothing."}]}
_CLAIMS = 300


class Client:
    """Submits as the API does: record first, announce second."""

    def __init__(self, home: Path, catalog: Path | None = None) -> None:
        settings = bench_settings(home, catalog)
        self.store = JobStore(connect(settings), Spool(settings.spool_dir))
        self.store.check_schema()
        self._announcer = Announcer(InferenceBroker(settings, broker_id=f"api:{secrets.token_hex(8)}"), self.store)

    def submit(self, model: str = "instant-0", lane: Lane = Lane.INTERACTIVE) -> str:
        """Record and announce a job."""
        new = NewJob(kind=JobKind.CHAT, model=model, lane=lane, request=_REQUEST, waited=False)
        self.store.submit(new, max_queued=10**9)
        self._announcer.announce_as(new.id, Unannounced(queue=queue_name(model, lane), announce=1))
        return new.id

    def ended(self, job_id: str) -> Job:
        """Wait for a job's end."""
        while (job := self.store.get(job_id)).state not in TERMINAL:
            time.sleep(0.001)
        return job

    def submit_many(self, count: int) -> float:
        """Submit from four threads, as an API does; return the seconds it took."""
        began = time.perf_counter()
        with ThreadPoolExecutor(4) as threads:
            for _ in threads.map(lambda _: self.submit(), range(count)):
                pass
        return time.perf_counter() - began


@contextlib.contextmanager
def _process(words: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        process = subprocess.Popen([sys.executable, "-m", "app.cli.main", *words], env=env, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def redis(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the bundled Redis over *home*; the block begins once it answers."""
    with _process(["redis"], environment(home), home / "redis.out") as process:
        client = connect(bench_settings(home), retries=200)
        client.ping()
        client.close()
        yield process


@contextlib.contextmanager
def worker(home: Path, catalog: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker over *home*, with *more* in its environment."""
    with _process(["worker"], environment(home, MLX_LOCAL_CATALOG=str(catalog)) | more, home / "worker.out") as process:
        yield process


def redis_address(home: Path) -> str:
    """Return where workers of other homes find the Redis of *home*."""
    return redis_url(bench_settings(home))


def run(bench: Bench) -> list[Figure]:
    """Measure starting, throughput and depth."""
    with one_home() as home, redis(home):
        catalog = instant_catalog(home)
        client = Client(home, catalog)
        with worker(home, catalog):
            client.ended(client.submit())
            bench.say("enqueue to start")
            started = _starts(client, 50 if bench.quick else 400)
        bench.say("no-op jobs/s")
        rates = [_drain(client, home, catalog, 500 if bench.quick else 3000) for _ in range(1 if bench.quick else 3)]
    figures = [
        at_most(_NAME, "enqueue to start, idle worker, p50", percentile(started, 50) * 1000, 3, "ms"),
        at_most(_NAME, "enqueue to start, idle worker, p99", percentile(started, 99) * 1000, 15, "ms"),
        at_least(_NAME, "no-op jobs/s", median([one for one, _ in rates]), 1000, "jobs/s", ", ".join(f"{one:.0f}" for one, _ in rates)),
        Figure(_NAME, "submissions/s from one process", median([two for _, two in rates]), "jobs/s"),
    ]
    bench.say("depth")
    return figures + _depths((1_000, 10_000) if bench.quick else (1_000, 10_000, 100_000))


def _starts(client: Client, count: int) -> list[float]:
    waits = []
    for _ in range(count):
        job = client.ended(client.submit())
        if job.started_at is None:
            message = f"{job.id} never started: {job.error}"
            raise RuntimeError(message)
        waits.append((job.started_at - job.created_at).total_seconds())
        time.sleep(0.02)  # so that the worker sleeps again
    return waits


def _drain(client: Client, home: Path, catalog: Path, count: int) -> tuple[float, float]:
    """Return jobs/s of a worker that finds *count* jobs, and of their submission."""
    before = client.store.count_by_state()[JobState.SUCCEEDED]
    seconds = client.submit_many(count)
    began_at = client.store.now()
    with worker(home, catalog):
        while client.store.count_by_state()[JobState.SUCCEEDED] < before + count:
            time.sleep(0.02)
        jobs = newest(client.store, count)
    starts = [job.started_at.timestamp() for job in jobs if job.started_at and job.started_at.timestamp() >= began_at - 1]
    ends = [job.finished_at.timestamp() for job in jobs if job.finished_at]
    return count / (max(ends) - min(starts)), count / seconds


def newest(store: JobStore, count: int) -> list[Job]:
    """Return the jobs that were submitted last."""
    found: list[Job] = []
    while len(found) < count:
        page = store.list_jobs(limit=min(500, count - len(found)), after=found[-1].id if found else None)
        found += page
    return found


def _depths(depths: tuple[int, ...]) -> list[Figure]:
    """Measure claims at every depth, each in a Redis of its own, in turns."""
    took: dict[int, list[float]] = {depth: [] for depth in depths}
    bytes_each: dict[int, float] = {}
    with contextlib.ExitStack() as held:
        clients: dict[int, Client] = {}
        queues: dict[int, Iterator[Job]] = {}
        for depth in depths:
            home = held.enter_context(one_home())
            held.enter_context(redis(home))
            client = clients[depth] = Client(home)
            empty = client.store.used_bytes()
            client.submit_many(depth)
            bytes_each[depth] = (client.store.used_bytes() - empty) / depth
            queues[depth] = iter(client.store.oldest(JobState.QUEUED, _CLAIMS))
        for _ in range(_CLAIMS):
            for depth in depths:
                job = next(queues[depth])
                began = time.perf_counter()
                claim = clients[depth].store.claim(job.id, 1, worker="bench", token=secrets.token_hex(8))
                took[depth].append(time.perf_counter() - began)
                if isinstance(claim, Unclaimed):
                    raise RuntimeError(claim.reason)  # noqa: TRY004 - an answer of the store, not a wrong type
    least = depths[0]
    figures = [Figure(_NAME, f"claim, {depth:,} queued, p50", percentile(took[depth], 50) * 1e6, "µs") for depth in depths]
    for depth in depths[1:]:
        against, _ = ratio(took[depth], took[least])
        figures.append(at_most(_NAME, f"claim, {depth:,} queued / {least:,} queued", against, 1.2))
    return figures + [Figure(_NAME, f"Redis memory for each of {depth:,} queued", bytes_each[depth], "bytes") for depth in depths]
