"""One clerk at a time: what another one does, or the same one twice, changes nothing."""

from __future__ import annotations

import pytest

from app.errors import BatchNotFound, JobNotFound
from app.jobs import keys
from app.jobs.batch_record import ALL_MODELS, Outcome
from app.jobs.batches import Batches, ClerkId, Collected, Line, NoLongerClerk
from app.jobs.chains import Chains
from app.jobs.claims import Claimed
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob


def submitted(store: JobStore) -> str:
    request = {"endpoint": "/v1/chat/completions", "input_file_id": "file-1", "completion_window": "24h"}
    new = NewJob(kind=JobKind.BATCH, model=ALL_MODELS, lane=Lane.BATCH, request=request, waited=False, lasts_s=60)
    return store.submit(new, max_queued=10).job_id


def line(store: JobStore, number: int) -> Line:
    blob = store.spool.put(b"picture", holder="job_temporary")
    new = NewJob(
        id="job_temporary", kind=JobKind.CHAT, model="m", lane=Lane.BATCH, request={"messages": []}, waited=False, blobs=(blob,)
    )  # fmt: skip
    return Line(number, new)


def test_a_line_is_fed_once_and_by_the_clerk_alone(store: JobStore) -> None:
    batches, batch = Batches(store), submitted(store)
    first, other = ClerkId(batch, "api-1:0", "api-1:"), ClerkId(batch, "api-2:0", "api-2:")
    batches.attend(first)
    with pytest.raises(NoLongerClerk):
        batches.attend(other)
    batches.begin(first, 3, None)
    for _ in range(2):
        batches.feed(first, [line(store, 0), line(store, 2)])
    assert batches.living(batch) == [0, 2]
    assert [job.id for job in Chains(store).list_children(batch, after=f"{batch}.0")] == [f"{batch}.2"]
    assert set(store.spool.holders()) == {f"{batch}.0", f"{batch}.2"}

    again = ClerkId(batch, "api-1:1", "api-1:")  # of the same process, after its first one broke
    batches.attend(again)
    with pytest.raises(NoLongerClerk):
        batches.feed(first, [line(store, 1)])
    with pytest.raises(NoLongerClerk):
        batches.collect(first, Collected(None, [], [1], {}))
    batches.leave(first)  # too late to matter
    with pytest.raises(NoLongerClerk):
        batches.attend(other)
    batches.leave(again)
    batches.attend(other)
    assert batches.fed(batch) == {0, 2}


def test_what_was_collected_is_forgotten_and_a_batch_only_when_its_results_are_written(store: JobStore) -> None:
    batches, batch = Batches(store), submitted(store)
    clerk = ClerkId(batch, "api-1:0", "api-1:")
    batches.attend(clerk)
    batches.begin(clerk, 3, None)
    batches.feed(clerk, [line(store, 0), line(store, 2)])
    claimed = store.claim(f"{batch}.0", 1, worker="w", token="t")
    assert isinstance(claimed, Claimed)
    assert store.commit(claimed.id, "t", JobState.SUCCEEDED, output=b"1", usage={"prompt_tokens": 2})
    assert [(ended.number, ended.state) for ended in batches.ended(batch)] == [(0, JobState.SUCCEEDED)]
    part = store.spool.put(b"0 1 result\n", holder=batch)
    batches.collect(clerk, Collected(part, [0], [1], {"input_tokens": 2}))
    assert (batches.ended(batch), batches.living(batch), batches.fed(batch), batches.parts(batch)) == ([], [2], {0, 1, 2}, [part])
    with pytest.raises(JobNotFound):
        store.get(f"{batch}.0")
    record = batches.get(batch)
    assert (record.completed, record.failed, record.usage["input_tokens"], record.status) == (1, 1, 2, "in_progress")
    with pytest.raises(NoLongerClerk):  # a line is under way
        batches.settle(clerk, Outcome(completed=3, failed=0))

    store.cancel(batch)
    store.forget(batch)  # not yet
    assert batches.get(batch).status == "cancelling"
    batches.collect(clerk, Collected(None, [ended.number for ended in batches.ended(batch)], [], {}))
    batches.settle(clerk, Outcome(completed=1, failed=2))
    assert batches.get(batch).status == "cancelled"
    assert batches.unsettled() == []
    assert not store.client.keys(f"{keys.PREFIX}batch:*")
    assert list(store.spool.holders()) == []
    store.forget(batch)
    with pytest.raises(BatchNotFound):
        batches.get(batch)
