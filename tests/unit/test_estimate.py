"""When a job that waits is likely to start."""

from __future__ import annotations

import pytest

from app.jobs.estimate import Outlook, seconds_to_start

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("outlook", "ahead", "seconds"),
    [
        (Outlook(ready_at=0, job_s=8.0, slots=4), 0, 2.0),
        (Outlook(ready_at=0, job_s=8.0, slots=4), 7, 16.0),
        (Outlook(ready_at=0, job_s=8.0, slots=1), 2, 24.0),
        (Outlook(ready_at=NOW + 5, job_s=8.0, slots=4), 3, 5.0),
        (Outlook(ready_at=NOW + 5, job_s=8.0, slots=4), 4, 7.0),
        (Outlook(ready_at=NOW + 5, slots=4), 3, 5.0),
        (Outlook(ready_at=NOW - 5, job_s=8.0, slots=4), 0, 0.0),
    ],
    ids=["next", "two rounds", "one slot", "first batch", "after the first batch", "no job has ended yet", "the load takes longer"],
)
def test_it_is_the_way_to_memory_and_then_the_slots_that_must_end(outlook: Outlook, ahead: int, seconds: float) -> None:
    assert seconds_to_start(outlook, ahead, NOW) == seconds


@pytest.mark.parametrize(
    ("outlook", "ahead"),
    [(Outlook(job_s=8.0), 0), (Outlook(ready_at=0), 0), (Outlook(ready_at=NOW + 5, slots=4), 4)],
    ids=["nobody knows when the model comes", "no job has ended", "no job has ended, and one must"],
)
def test_what_is_not_known_is_not_guessed(outlook: Outlook, ahead: int) -> None:
    assert seconds_to_start(outlook, ahead, NOW) is None


def test_nobody_waits_less_for_having_more_before_him() -> None:
    for outlook in (Outlook(ready_at=0, job_s=3.0, slots=4), Outlook(ready_at=NOW + 1, job_s=3.0, slots=4)):
        waits = [seconds_to_start(outlook, ahead, NOW) or 0.0 for ahead in range(20)]
        assert waits == sorted(waits)
