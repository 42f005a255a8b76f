"""Which version of work a job needs."""

from __future__ import annotations

from app.jobs.record import JobKind
from app.jobs.work import CHANGES, WORK_VERSION, Change, needed_version, spoken_version

_LATER = (Change(2, frozenset({JobKind.CHAT, JobKind.COMPLETION}), "mood"), Change(3, frozenset({JobKind.RERANK})))


def test_a_job_needs_the_version_in_which_its_kind_or_a_field_that_it_uses_came() -> None:
    assert needed_version(JobKind.CHAT, {"messages": []}, _LATER) == 1
    assert needed_version(JobKind.CHAT, {"mood": None}, _LATER) == 1
    assert needed_version(JobKind.CHAT, {"mood": "grim"}, _LATER) == 2
    assert needed_version(JobKind.RERANK, {}, _LATER) == 3
    assert needed_version(JobKind.EMBEDDING, {"mood": "grim"}, _LATER) == 1


def test_a_worker_speaks_the_last_version_that_it_knows() -> None:
    assert spoken_version(_LATER) == 3
    assert spoken_version(CHANGES) == WORK_VERSION
    assert [change.version for change in CHANGES] == sorted(change.version for change in CHANGES)
