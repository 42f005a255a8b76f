"""The jobs that this worker is running, and how each of them ended."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Protocol

from app.engines.hearing import Heard, Spans
from app.engines.protocols import Embedded, Failed, Finished, Work
from app.engines.ranking import Ranked
from app.engines.speaking import Spoken
from app.jobs.calls import CallDelta
from app.jobs.chains import Plan
from app.jobs.claims import Claimed
from app.jobs.logprobs import TokenLogprob
from app.jobs.rescue import attempt_of, work_id

__all__ = ["Choice", "Downloaded", "Ending", "Errand", "Joined", "Moments", "Planned", "Run", "Runs", "Withdrawn"]


class Withdrawn(Enum):
    """Why a run ended without a result of its own."""

    LOST = "lost"  # cancelled, or rescued from us: the record is not ours any more
    DRAINED = "drained"  # this worker stops: the job goes back to its queue


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A model's files are here."""

    model: str
    repo: str
    bytes: int
    seconds: float
    path: str


@dataclass(frozen=True, slots=True)
class Planned:
    """The job has children now; what comes of it comes after them."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Joined:
    """A parent's children have ended, and this is what was made of what they made."""

    output: bytes
    usage: dict[str, Any] = field(default_factory=dict)  # the sum of theirs, where that says something
    media_type: str = "application/json"


Ending = Finished | Embedded | Ranked | Heard | Spoken | Downloaded | Joined | Planned | Failed | Withdrawn


@dataclass(slots=True)
class Choice:
    """One of the answers that a job makes; most jobs make one."""

    work: Work
    text: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[CallDelta] = field(default_factory=list)
    finished: Finished | None = None
    begun: bool = False  # its first tokens of this attempt are on their way
    last_at: float = 0.0  # when its engine gave out its last tokens, by time.perf_counter()


@dataclass(slots=True)
class Moments:
    """When what happened to a run, by time.perf_counter(); 0: it has not. Engines' moments are those at which they said it."""

    claimed: float = field(default_factory=time.perf_counter)
    leased: float = 0.0  # its model is there
    added: float = 0.0  # its work went to the engine
    prefilled: float = 0.0  # the prompt of its first answer is in the cache
    first: float = 0.0  # the first piece of an answer
    last: float = 0.0  # the last one so far, or the end


@dataclass(slots=True)
class Run:
    """One claim that is being worked on."""

    claim: Claimed
    ended: Future[Ending] = field(default_factory=Future)
    choices: list[Choice] = field(default_factory=list)  # complete before any of their work is begun
    request: Mapping[str, Any] = field(default_factory=dict)  # what the frontend prepares: the claim's, or what a step made of it
    pieces: int = 0  # of its answers that went to the store
    said: dict[int, int] = field(default_factory=dict)  # sentence -> bytes of it that this attempt has published
    moments: Moments = field(default_factory=Moments)
    spans: Future[Spans] = field(default_factory=Future)  # where somebody speaks, of a recording
    withdrawn: threading.Event = field(default_factory=threading.Event)  # whatever it waits for is to be given up
    withdrawn_as: Withdrawn = Withdrawn.LOST  # why it was, if it was
    outcome: Literal["succeeded", "failed", "planned", "drained", "lost"] = "lost"
    error_code: str | None = None  # of one that failed

    def __post_init__(self) -> None:
        """Begin with what was asked."""
        self.request = self.request or self.claim.request

    @property
    def work_id(self) -> str:
        """What engines know this run by, and its first choice."""
        return work_id(self.claim.id, self.claim.attempt)

    def end(self, ending: Ending) -> None:
        """Say how it ended; only the first word counts, whoever speaks at the same time."""
        with contextlib.suppress(InvalidStateError):
            self.ended.set_result(ending)

    def withdraw(self, why: Withdrawn) -> None:
        """End it without a result of its own, also where one is there already and is being handed over."""
        if not self.withdrawn.is_set():
            self.withdrawn_as = why
        self.withdrawn.set()
        self.end(why)

    def settle(self, number: int, ending: Finished | Embedded | Ranked | Heard | Spoken | Failed) -> None:
        """Say how choice *number* ended: the last one's end is the run's, and so is any failure."""
        if isinstance(ending, Finished):
            self.choices[number].finished = ending
            if any(choice.finished is None for choice in self.choices):
                return
        self.end(ending)


class Errand(Protocol):
    """Work of one kind of job that needs no engine."""

    def run(self, run: Run) -> Ending:
        """Do it on the calling thread, and return how it ended; a run that is ended meanwhile is to be left at once."""
        ...

    def settled(self, run: Run, ending: Ending) -> None:
        """See to what follows, now that the record says how it ended."""
        ...


class Runs:
    """All runs of this worker, by work id and by job, and how many messages are being seen to. Thread-safe."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._messages = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def message(self) -> Iterator[None]:
        """Count a message from before its claim until its job is settled: in between there may be no run of it yet."""
        with self._changed:
            self._messages += 1
        try:
            yield
        finally:
            with self._changed:
                self._messages -= 1
                self._changed.notify_all()

    def add(self, run: Run) -> None:
        """Count a run."""
        with self._changed:
            self._runs[run.work_id] = run

    def remove(self, run: Run) -> None:
        """Forget a run that is committed, released or lost."""
        with self._changed:
            self._runs.pop(run.work_id, None)

    def get(self, wanted: str) -> tuple[Run, int] | None:
        """Return the run of a work id, and which of its choices that is."""
        attempt, choice = attempt_of(wanted)
        with self._changed:
            run = self._runs.get(attempt)
        return None if run is None else (run, choice)

    def of_job(self, job_id: str) -> list[Run]:
        """Return the runs of a job: one, or none."""
        with self._changed:
            return [run for run in self._runs.values() if run.claim.id == job_id]

    def claims(self) -> set[tuple[str, str]]:
        """Return every run's job and claim token."""
        with self._changed:
            return {(run.claim.id, run.claim.token) for run in self._runs.values()}

    def all(self) -> list[Run]:
        """Return every run."""
        with self._changed:
            return list(self._runs.values())

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until no message is being seen to; return whether that came."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._messages, timeout_s)
