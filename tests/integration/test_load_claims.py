"""Of several workers one loads a model: claims of loads in the store, and what others see while one is being made true."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from app.actors.presence import Presence
from app.jobs import keys
from app.jobs.decoding import ModelState
from app.jobs.loads import Loads
from app.jobs.store import JobStore

_ROUNDS = 100
_LOADING = ModelState(state="loading")
_RESIDENT = ModelState(state="resident")


class Worker:
    """What a worker says of its loads."""

    def __init__(self, store: JobStore, name: str) -> None:
        self.id = name
        self.loads = Loads(store, name)
        self.presence = Presence(store, name, loads=self.loads)
        self.presence.beat()

    def claim(self, model: str, *aware: Worker) -> bool:
        return self.loads.claim(model, [one.id for one in aware])


def test_of_those_who_ask_at_once_one_gets_the_load(store: JobStore) -> None:
    workers = [Worker(store, f"home{number}-1") for number in range(4)]
    barrier = threading.Barrier(len(workers))

    def claim(worker: Worker, model: str) -> bool:
        barrier.wait()
        return worker.claim(model)

    with ThreadPoolExecutor(len(workers)) as threads:
        for number in range(_ROUNDS):
            model = f"m{number}"
            assert sum(threads.map(lambda one, model=model: claim(one, model), workers)) == 1


def test_a_claim_ends_in_the_moment_in_which_the_model_is_said_to_be_there(store: JobStore) -> None:
    first, second = Worker(store, "one-1"), Worker(store, "two-1")
    assert first.claim("m")
    assert first.claim("m"), "a claim may be repeated after a lost answer"
    first.presence.report("m", _LOADING)
    first.presence.beat()
    assert not second.claim("m")
    first.presence.report("m", _RESIDENT)
    first.loads.end("m")
    assert not second.claim("m"), "nothing has been said yet"
    first.presence.beat()
    assert not store.client.exists(keys.LOADS)
    assert not second.claim("m"), "it did not know that the model is there"
    assert second.claim("m", first)


def test_a_load_that_failed_is_the_next_ones(store: JobStore) -> None:
    first, second = Worker(store, "one-1"), Worker(store, "two-1")
    assert first.claim("m")
    first.loads.end("m")
    first.presence.beat()
    assert second.claim("m")
    # The end of an earlier load does not end a later one of the same worker's.
    second.loads.end("m")
    assert second.claim("m")
    second.presence.beat()
    assert not first.claim("m")


def test_a_claim_dies_with_its_worker_and_a_worker_that_counts_as_dead_gets_none(store: JobStore) -> None:
    first, second = Worker(store, "one-1"), Worker(store, "two-1")
    assert first.claim("m")
    store.client.delete(keys.worker(first.id))  # its heartbeat lapses
    assert not first.claim("other")
    assert second.claim("m")
    first.presence.beat()
    assert not first.claim("m")
    second.presence.leave()
    assert first.claim("m")


def test_a_state_that_leaves_a_model_to_others_hides_none_of_theirs(store: JobStore) -> None:
    first, second = Worker(store, "one-1"), Worker(store, "two-1")
    for state in ("resident", "loading", "waiting", "downloading", "failed"):
        first.presence.report("m", ModelState(state=state))
        second.presence.report("m", ModelState(state="waiting", reason="in_memory_elsewhere"))
        first.presence.beat()
        second.presence.beat()
        assert store.model_states() == {"m": ModelState(state=state)}
    first.presence.leave()
    assert store.model_states()["m"].reason == "in_memory_elsewhere"
