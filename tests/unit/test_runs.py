"""A run ends once, whoever says so."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.actors.runs import Choice, Run, Runs, Withdrawn
from app.engines.protocols import Failed, Finished, Sampling, TextWork
from app.errors import EngineFailed
from app.jobs.claims import Claimed
from app.jobs.record import JobKind, Lane
from app.jobs.rescue import attempt_of, work_id


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


def test_a_run_of_several_answers_ends_with_the_last_of_them_or_the_first_failure() -> None:
    done = [Finished(work_id("job_0", 1, number), "stop", 1, 1, 0) for number in range(3)]
    for order in ([0, 1, 2], [2, 0, 1]):
        a_run = run()
        a_run.choices = [Choice(TextWork(end.id, (1,), 1, Sampling(1))) for end in done]
        for number in order[:-1]:
            a_run.settle(number, done[number])
            assert not a_run.ended.done()
        a_run.settle(order[-1], done[order[-1]])
        assert a_run.ended.result() == done[order[-1]]
    a_run = run()
    a_run.choices = [Choice(TextWork(end.id, (1,), 1, Sampling(1))) for end in done]
    failed = Failed(done[1].id, EngineFailed("broken"))
    a_run.settle(1, failed)
    assert a_run.ended.result() == failed


def test_every_choice_of_an_attempt_is_found_by_its_work_id() -> None:
    runs = Runs()
    a_run = run(7)
    runs.add(a_run)
    assert [runs.get(work_id("job_7", 1, number)) for number in (0, 1, 127)] == [(a_run, 0), (a_run, 1), (a_run, 127)]
    assert runs.get(work_id("job_7", 2)) is None
    assert attempt_of(work_id("job_7", 1, 12)) == ("job_7/1", 12)
