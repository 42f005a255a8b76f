"""The worker's threads beside its engines: none may end, and none may make the GPU's wait."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.actors.consumer import WorkerBroker
from app.actors.control import Control
from app.actors.presence import Presence
from app.jobs import keys
from app.jobs.connection import connect
from app.jobs.decoding import ModelState
from app.jobs.store import JobStore
from app.settings import Settings
from tests.conftest import RedisServer


@pytest.fixture
def broker(settings: Settings) -> Iterator[WorkerBroker]:
    broker = WorkerBroker(settings, broker_id="worker:home-test", limit=lambda _: 1)
    yield broker
    broker.client.close()


def test_a_chore_that_fails_stops_neither_the_others_nor_the_listening(settings: Settings, store: JobStore, broker: WorkerBroker) -> None:
    ran, heard = threading.Event(), threading.Event()

    def fail() -> None:
        raise KeyError

    def cancel(job_id: str) -> None:
        heard.set()
        raise ValueError(job_id)

    control = Control(
        connect(settings, retries=0), broker, cancel, lambda _: None, lambda: None, lambda _: None, [(0.0, fail), (0.0, ran.set)]
    )
    control.start()
    assert ran.wait(10)
    store.client.publish(keys.CONTROL, "cancel job_1")
    assert heard.wait(10)
    ran.clear()
    assert ran.wait(10)
    control.stop()


def test_a_report_does_not_wait_for_redis(redis_server: RedisServer, store: JobStore) -> None:
    presence = Presence(store, "home-worker")
    presence.beat()
    presence.start()
    redis_server.freeze()
    presence.report("m", ModelState(state="loading"))  # returns, though nobody answers
    presence.report("m", ModelState(state="resident"))
    redis_server.thaw()
    while store.model_states().get("m") != ModelState(state="resident"):
        pass
    presence.leave()
    assert store.workers() == []


def test_a_process_ends_with_the_thread_that_dies(tmp_path: Path) -> None:
    program = """
import threading
from app.actors.main import end_process
threading.excepthook = end_process
threading.Thread(target=lambda: 1 / 0, name="gpu").start()
threading.Event().wait()
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False, capture_output=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 70
    assert b"ZeroDivisionError" in done.stderr or b"ZeroDivisionError" in done.stdout


def test_a_paused_queue_is_closed_whatever_its_gate_says_and_goes_on_where_that_stands(broker: WorkerBroker) -> None:
    consumer = broker.consume("m_batch")
    broker.pause("other_batch", 3600)
    broker.pause("m_batch", 0)
    broker.set_limit("m_batch", 3)
    assert broker.limit_of("m_batch") == 0
    broker.announce("m_batch", "job_1", 1)
    assert broker.resume() == ["m_batch"]
    assert (broker.limit_of("m_batch"), broker.limit_of("other_batch")) == (3, 0)
    assert next(iter(consumer)) is not None
    assert broker.fetched("m_batch") == 1
