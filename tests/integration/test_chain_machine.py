"""Parents and children under random moves in random order, over a real Redis: what must hold after every one of them."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from app.errors import Failure
from app.jobs import keys
from app.jobs.chains import Chains, Child, Plan
from app.jobs.claims import Claimed
from app.jobs.record import TERMINAL, JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob

_LIVE = (JobState.QUEUED, JobState.RUNNING)
WHICH = st.integers(0, 7)  # of those that there are, counted round
BROKEN = Failure(code="engine_error", message="It broke.")
REQUEST: dict[str, Any] = {"messages": []}


class ChainMachine(RuleBasedStateMachine):
    """Moves as callers, workers and time make them. Messages are not modelled: any job that wants one may be claimed at any time."""

    def __init__(self, store: JobStore) -> None:
        super().__init__()
        self.store = store
        self.chains = Chains(store)
        self.held: dict[str, Claimed] = {}  # claims of workers that live, by job
        self.plans: dict[str, Plan] = {}  # by token
        self.taken = 0
        store.client.flushdb()

    def fields(self, job_id: str) -> dict[str, str]:
        return cast("dict[str, str]", self.store.client.hgetall(keys.job(job_id)))

    def among(self, index: str, job_id: str) -> bool:
        return self.store.client.zscore(index, job_id) is not None

    def jobs(self) -> dict[str, dict[str, str]]:
        found = cast("list[str]", sorted(self.store.client.scan_iter(keys.job("*"))))
        return {key.removeprefix(keys.job("")): cast("dict[str, str]", self.store.client.hgetall(key)) for key in found}

    def pick(self, which: int, *states: JobState, top: bool = False) -> str | None:
        known = [job for job, of in self.jobs().items() if of["state"] in states and not (top and "parent" in of)]
        return known[which % len(known)] if known else None

    def settle(self) -> None:
        """Forget claims that hold no longer."""
        ours = self.store.still_running([(claim.id, claim.token) for claim in self.held.values()])
        self.held = {job: claim for job, claim in self.held.items() if job in ours}

    def a_claim(self, which: int) -> Claimed | None:
        self.settle()
        return list(self.held.values())[which % len(self.held)] if self.held else self.claim(which)

    def claim(self, which: int) -> Claimed | None:
        wanting = [job for job in self.jobs() if self.store.to_announce(job)]
        if not wanting:
            return None
        job = wanting[which % len(wanting)]
        pending = self.store.to_announce(job)
        assert pending is not None
        self.taken += 1
        claim = self.store.claim(job, pending.announce, worker="home-w", token=f"t{self.taken}")
        assert isinstance(claim, Claimed)
        self.held[job] = claim
        return claim

    @rule(waited=st.booleans())
    def submit(self, *, waited: bool) -> None:
        if len(self.store.list_jobs()) < 4:
            new = NewJob(kind=JobKind.CHAT, model="m", lane=Lane.BATCH, request=REQUEST, waited=waited)
            self.store.submit(new, max_queued=100)

    @rule(which=WHICH)
    def work(self, which: int) -> None:
        self.claim(which)

    @rule(which=WHICH, keep=st.booleans())
    def begin_a_chain(self, which: int, *, keep: bool) -> None:
        self.submit(waited=False)
        self.plan_for(self.claim(which), 4, 2, keep=keep)

    @rule(which=WHICH, times=st.integers(2, 5))
    def go_on(self, which: int, times: int) -> None:
        for _ in range(times):
            self.commit(which, well=True)

    @rule(which=WHICH, count=st.integers(1, 4), window=st.integers(1, 2), keep=st.booleans())
    def plan(self, which: int, count: int, window: int, *, keep: bool) -> None:
        self.plan_for(self.a_claim(which), count, window, keep=keep)

    def plan_for(self, claim: Claimed | None, count: int, window: int, *, keep: bool) -> None:
        if claim and claim.id.count(".") < 2 and int(self.fields(claim.id).get("children", 0)) < 6:
            child = Child(kind=JobKind.CHAT, model="m", request=REQUEST, units=2)
            plan = Plan(children=(child,) * count, window=window, on_failure="keep" if keep else "fail")
            assert self.chains.plan(claim, plan)
            assert self.chains.plan(claim, plan)  # repeated after a lost answer
            del self.held[claim.id]

    @rule(which=WHICH, well=st.booleans())
    def commit(self, which: int, *, well: bool) -> None:
        if not (claim := self.a_claim(which)):
            return
        state, error = (JobState.SUCCEEDED, None) if well else (JobState.FAILED, BROKEN)
        assert self.store.commit(claim.id, claim.token, state, output=b"1" if well else None, error=error)

    @rule(which=WHICH, charge=st.booleans())
    def rescue(self, which: int, *, charge: bool) -> None:
        if not (claim := self.a_claim(which)):
            return
        self.store.release(claim.id, claim.token, died_in=0 if charge else None)
        assert not self.chains.plan(claim, Plan(children=(Child(kind=JobKind.CHAT, model="m", request=REQUEST),)))

    @rule(which=WHICH)
    def refuse(self, which: int) -> None:
        if job := self.pick(which, JobState.QUEUED):
            self.store.refuse(job, BROKEN)

    @rule(which=WHICH)
    def cancel(self, which: int) -> None:
        if job := self.pick(which, *_LIVE):
            self.store.cancel(job)

    @rule(which=WHICH)
    def cancel_a_child(self, which: int) -> None:
        children = [job for job, of in self.jobs().items() if "parent" in of and of["state"] not in TERMINAL]
        if children:
            self.store.cancel(children[-1 - which % len(children)])

    @rule(which=WHICH)
    def plan_after_a_step(self, which: int) -> None:
        self.settle()
        steps = [claim for claim in self.held.values() if claim.step]
        self.plan_for(steps[which % len(steps)] if steps else None, 2, 1, keep=True)

    @rule(which=WHICH)
    def hang_up(self, which: int) -> None:
        if job := self.pick(which, *_LIVE, top=True):
            self.store.attach(job, "waiter")
            self.store.detach(job, "waiter")

    @rule(which=WHICH)
    def be_late(self, which: int) -> None:
        if job := self.pick(which, *_LIVE, top=True):
            self.store.client.zadd(f"{keys.PREFIX}deadlines", {job: 1})
            self.store.expire_deadlines()

    @rule(which=WHICH)
    def lose_the_message(self, which: int) -> None:
        if (job := self.pick(which, *_LIVE)) and (pending := self.store.to_announce(job)):
            self.store.announced(job, pending.announce, "lost")
            assert self.store.reannounce(job, "lost")

    @rule(which=WHICH)
    def retry(self, which: int) -> None:
        if (job := self.pick(which, *TERMINAL)) and len(self.store.list_jobs()) < 4:
            self.store.retry(job, max_queued=100)

    @rule()
    def lose_the_count(self) -> None:
        self.store.client.delete(keys.STANDING)

    @precondition(lambda self: self.store.list_jobs())
    @rule(which=WHICH)
    def forget(self, which: int) -> None:
        if job := self.pick(which, *TERMINAL):
            self.store.forget(job)

    @invariant()
    def what_is_wanted_is_to_be_announced(self) -> None:
        for job in self.jobs():
            queues = [
                name for name in ("m_batch", keys.CHAINS, keys.QUARANTINE) if self.store.client.zscore(keys.queue(name), job) is not None
            ]
            wanted = self.store.to_announce(job)
            assert queues == ([wanted.queue] if wanted else []), job
            assert self.among(keys.UNANNOUNCED, job) == (wanted is not None), job

    @invariant()
    def every_index_agrees(self) -> None:
        jobs = self.jobs()
        counted = cast("dict[str, str]", self.store.client.hgetall(keys.STANDING))
        standing = Counter(f"{of['kind']}:{of['state']}" for of in jobs.values())
        assert not counted or {stand: int(count) for stand, count in counted.items() if count != "0"} == standing
        for job, of in jobs.items():
            for children in (False, True):
                found = [
                    state for state in JobState if self.store.client.zscore(keys.state_index(state, children=children), job) is not None
                ]
                assert found == ([of["state"]] if children == ("parent" in of) else []), job
            assert int(of.get("commits", 0)) <= 1

    @invariant()
    def parents_and_children_agree(self) -> None:
        jobs = self.jobs()
        for job, of in jobs.items():
            assert "parent" not in of or of["parent"] in jobs, f"{job} is an orphan"
            if "children" not in of:
                continue
            children = [jobs[keys.child(job, number)] for number in range(int(of["children"]))]
            living = [child for child in children if child["state"] not in TERMINAL]
            if of["state"] in TERMINAL:
                assert not living, f"{job} has ended before its children"
                continue
            assert of["state"] == JobState.RUNNING
            assert int(of["open"]) == len(living)
            let_in = [child for child in living if child["announce"] != "0"]
            assert len(let_in) == min(int(of["window"]), len(living)), f"the window of {job} is not kept, or not full"
            assert not living or "token" not in of
            ended = [child for child in children if child["state"] in TERMINAL]
            assert int(of["done"]) == sum(int(child["units"]) for child in ended)
            assert int(of["failed"]) == sum(child["state"] != JobState.SUCCEEDED for child in ended)
            if living:
                assert children[int(of["head"])] is living[0]
            told = [entry.child for entry in self.store.stream({job: "0-0"}).get(job, []) if entry.child]
            assert Counter(end.number for end in told) == Counter(int(child["number"]) for child in ended)
            assert all(children[end.number]["state"] == end.state for end in told)

    def teardown(self) -> None:
        """Whatever has happened, workers bring it to its end."""
        self.settle()
        for held in list(self.held.values()):
            self.store.release(held.id, held.token)
        while wanting := [job for job in self.jobs() if self.store.to_announce(job)]:
            for job in wanting:
                if pending := self.store.to_announce(job):
                    assert isinstance(self.store.claim(job, pending.announce, worker="home-w", token="end"), Claimed)
                    assert self.store.commit(job, "end", JobState.SUCCEEDED, output=b"1")
        for job, of in self.jobs().items():
            assert of["state"] in TERMINAL, f"{job} never ends"
        self.parents_and_children_agree()
        for ended in self.store.list_jobs(limit=1000):
            self.store.forget(ended.id)
        assert self.jobs() == {}
        left = [key for key in self.store.client.scan_iter(f"{keys.PREFIX}*") if ".0" in key or "jobs:" in key or "children:" in key]
        assert left == []


def test_chains_hold_under_any_order_of_moves(store: JobStore) -> None:
    class Machine(ChainMachine):
        def __init__(self) -> None:
            super().__init__(store)

    steps = settings(max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Machine, settings=steps)
