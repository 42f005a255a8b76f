"""Wishes in the store: the latest one counts, and what stands against one is counted from records."""

from __future__ import annotations

import math

from app.jobs.claims import Claimed
from app.jobs.record import JobKind, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob, download_job
from app.jobs.wishes import Use, Wishes


def test_a_later_wish_is_not_lost_when_the_earlier_one_is_granted(store: JobStore) -> None:
    wishes = Wishes(store)
    first = wishes.say("one", "resident", math.inf)
    assert wishes.find("one") == first
    granted = first.model_copy(update={"until": math.inf})
    wishes.replace("one", first, granted)
    assert wishes.all() == {"one": granted}
    later = wishes.say("one", "absent")
    wishes.replace("one", granted, None)
    assert wishes.find("one") == later
    wishes.replace("one", later, None)
    assert wishes.all() == {}


def test_a_model_is_used_by_jobs_that_run_or_wait_and_not_by_its_download(store: JobStore) -> None:
    wishes = Wishes(store)
    new = [NewJob(kind=JobKind.CHAT, model=model, lane=Lane.BATCH, request={}, waited=False) for model in ("one", "one", "two")]
    fetching = download_job("one", "org/one")
    for job in (*new, fetching):
        store.submit(job, max_queued=10)
    assert wishes.use_of("one") == Use(queued=2, running=0, downloads=1)
    assert isinstance(store.claim(new[0].id, 1, worker="w", token="t"), Claimed)
    assert isinstance(store.claim(fetching.id, 1, worker="w", token="t"), Claimed)
    assert wishes.use_of("one") == Use(queued=1, running=1, downloads=1)
    assert wishes.use_of("three") == Use(0, 0, 0)
    assert not wishes.use_of("three").busy
