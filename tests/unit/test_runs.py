"""A run ends once, whoever says so."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.actors.runs import Run, Runs, Withdrawn
from app.jobs.claims import Claimed
from app.jobs.record import JobKind, Lane


def run(n: int = 0) -> Run:
    claim = Claimed(
        id=f"job_{n}", kind=JobKind.CHAT, model="m", lane=Lane.BATCH, attempt=1, token="t", seed=1, suspect=False, request={}
    )  # fmt: skip
    return Run(claim)


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads that interrupt each other as often as Python lets them."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_threads")
def test_the_first_of_many_words_counts_and_the_others_are_harmless() -> None:
    speakers = 3
    runs = [run(n) for n in range(10_000)]
    barrier = threading.Barrier(speakers)

    def speak(why: Withdrawn) -> None:
        barrier.wait()
        for a_run in runs:
            a_run.end(why)

    with ThreadPoolExecutor(speakers) as pool:
        for speaking in [pool.submit(speak, Withdrawn.LOST) for _ in range(speakers)]:
            speaking.result()
    assert {a_run.ended.result() for a_run in runs} == {Withdrawn.LOST}


def test_a_message_counts_before_its_job_is_claimed() -> None:
    runs = Runs()
    with runs.message():
        assert not runs.wait_until_idle(0)
        a_run = run()
        runs.add(a_run)
        runs.remove(a_run)
        assert not runs.wait_until_idle(0)
    assert runs.wait_until_idle(0)
