"""The spool of another machine: fetched once, gone on with, waited for, sent once, over a network that fails."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from app.errors import BlobNotHere, SpoolUnavailable
from app.jobs.blobs import Blobs
from app.jobs.remote_spool import RemoteSpool, open_spool
from app.jobs.store import JobStore
from app.named_keys import NamedKeys, Scope
from app.settings import Settings, load_settings
from tests.integration.conftest import Api
from tests.integration.relay import Relay

T = TypeVar("T")
CONTENT = os.urandom(5_000_000)


@pytest.fixture
def relay(api: Api) -> Iterator[Relay]:
    """The network between a worker and the API."""
    with Relay(api.port) as relay:
        yield relay


@pytest.fixture
def remote(api_settings: Settings, private_folder: Path, relay: Relay) -> Settings:
    """Settings of a worker of another machine."""
    return load_settings(
        home=private_folder / "elsewhere",
        redis_url=api_settings.redis_url,
        api_url=f"http://127.0.0.1:{relay.port}",
        worker_key=NamedKeys(api_settings.home).create("elsewhere", Scope.WORKER),
        worker_cache="20MB",
    )


@pytest.fixture
def spool(remote: Settings) -> Iterator[Blobs]:
    """What that worker works with."""
    spool = open_spool(remote)
    assert isinstance(spool, RemoteSpool)
    yield spool
    spool.close()


def in_a_job(spool: Blobs, work: Callable[[], T], withdrawn: threading.Event | None = None) -> T:
    """Return what *work* does while its thread works on a job."""
    with spool.used_by(withdrawn or threading.Event()):
        return work()


def read(spool: Blobs, name: str) -> bytes:
    """Return a blob as a job reads it."""
    return in_a_job(spool, lambda: spool.path(name).read_bytes())


def test_a_broken_connection_is_gone_on_with(spool: Blobs, store: JobStore, relay: Relay) -> None:
    name = store.spool.put(CONTENT, holder="job_1")
    relay.break_after_bytes = 3_000_000
    assert read(spool, name) == CONTENT
    assert relay.break_after_bytes is None
    assert relay.answered_bytes < 1.3 * len(CONTENT)
    answered = relay.answered_bytes
    assert spool.get(name) == CONTENT
    assert relay.answered_bytes == answered  # it is here


def test_what_is_damaged_on_its_way_is_fetched_anew(spool: Blobs, store: JobStore, relay: Relay) -> None:
    name = store.spool.put(CONTENT, holder="job_1")
    relay.damage_next = True
    assert read(spool, name) == CONTENT
    assert not relay.damage_next


def test_an_earlier_process_left_a_part_and_this_one_goes_on(spool: Blobs, remote: Settings, store: JobStore, relay: Relay) -> None:
    name = store.spool.put(CONTENT, holder="job_1")
    remote.fetched_dir.mkdir(parents=True)
    (remote.fetched_dir / f"{name}.part").write_bytes(CONTENT[:4_000_000])
    assert read(spool, name) == CONTENT
    assert relay.answered_bytes < 1_500_000
    whole = store.spool.put(CONTENT[:1000], holder="job_1")
    (remote.fetched_dir / f"{whole}.part").write_bytes(CONTENT[:1000])
    assert read(spool, whole) == CONTENT[:1000]


def test_many_jobs_that_need_the_same_fetch_it_once(spool: Blobs, store: JobStore, relay: Relay) -> None:
    name = store.spool.put(CONTENT, holder="job_1")
    together = threading.Barrier(8)

    def work(_: int) -> bytes:
        together.wait()
        return read(spool, name)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(work, range(8))) == {CONTENT}
    assert relay.answered_bytes < 1.3 * len(CONTENT)


def test_an_api_that_is_away_is_waited_for(spool: Blobs, store: JobStore, relay: Relay, background: ThreadPoolExecutor) -> None:
    name = store.spool.put(CONTENT, holder="job_1")
    relay.cut()
    relay.tried.clear()
    reading = background.submit(read, spool, name)
    writing = background.submit(in_a_job, spool, lambda: spool.put(b"an answer", holder="job_1"))
    assert relay.tried.wait(30)
    relay.mend()
    assert reading.result(60) == CONTENT
    assert store.spool.get(writing.result(60)) == b"an answer"


def test_a_job_that_is_withdrawn_waits_no_longer(spool: Blobs, store: JobStore, relay: Relay, background: ThreadPoolExecutor) -> None:
    name = store.spool.put(CONTENT, holder="job_1")
    relay.cut()
    relay.tried.clear()
    withdrawn = threading.Event()
    works: list[Callable[[], object]] = [lambda: spool.path(name), lambda: spool.path(name), lambda: spool.put(b"x", holder="job_1")]
    waiting = [background.submit(in_a_job, spool, work, withdrawn) for work in works]
    assert relay.tried.wait(30)
    withdrawn.set()
    for each in waiting:
        assert isinstance(each.exception(60), CancelledError)
    with pytest.raises(SpoolUnavailable):
        spool.path(name)  # of no job, so nobody could end the wait


def test_what_the_api_does_not_have_is_an_error_at_once(spool: Blobs) -> None:
    nowhere = hashlib.sha256(b"nowhere").hexdigest()
    for work in (lambda: spool.path(nowhere), lambda: spool.get(nowhere), lambda: spool.hold(nowhere, holder="job_1")):
        with pytest.raises(BlobNotHere):
            in_a_job(spool, work)


def test_what_a_job_makes_for_itself_is_sent_when_others_are_to_read_it_and_once(spool: Blobs, store: JobStore, relay: Relay) -> None:
    def work() -> str:
        name = spool.put_written(lambda target: target.write_bytes(CONTENT), holder="job_1")
        assert spool.path(name).read_bytes() == CONTENT
        assert relay.answered_bytes == 0
        answered = relay.answered_bytes
        with pytest.raises(BlobNotHere):
            spool.hold(hashlib.sha256(b"nowhere").hexdigest(), holder="job_1")
        # One more such answer, and then the next one is lost: the API has the content, and the worker does not know.
        relay.break_after_bytes = 2 * relay.answered_bytes - answered
        for holder in ("job_1", "job_2", "job_2"):
            spool.hold(name, holder=holder)
        return name

    name = in_a_job(spool, work)
    assert store.spool.get(name) == CONTENT
    assert sorted(store.spool.holders()) == ["job_1", "job_2"]
    assert relay.asked_bytes < 1.3 * len(CONTENT)


def test_the_cache_is_bounded_and_what_a_job_uses_stays(spool: Blobs, remote: Settings, store: JobStore) -> None:
    names = [store.spool.put(os.urandom(6_000_000), holder="job_1") for _ in range(5)]

    def work() -> None:
        used = [spool.path(name) for name in names]
        assert all(path.exists() for path in used)

    in_a_job(spool, work)
    read(spool, store.spool.put(b"one more", holder="job_1"))
    assert sum(file.stat().st_size for file in remote.fetched_dir.iterdir()) <= 20_000_000
    assert list(spool.holders()) == []
    spool.drop("job_1")
    assert len(list(store.spool.holders())) == 6  # another machine's jobs are not judged here
    assert spool.clear() > 0
    assert list(remote.fetched_dir.iterdir()) == []
