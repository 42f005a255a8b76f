"""A stage for random scripts: the whole stack as ``mlx-local up`` starts it, over models that hear tones and correct by rule.

Several scripts share one, each with a folder of its own that the stack watches.
A strike of any of them kills one of its processes with SIGKILL, and the
supervisor starts that again, as it would anywhere.

What is heard, how often, is told by the models themselves, which note when each
call begins, and by the records of the jobs. The rule: a recording is one job,
and each of its parts is committed once. A part that was at a model when the
worker or Redis was killed may be at it again, since that call had not ended for
anybody; so between two calls for the same part there is such a kill, and no call
begins once the part is committed. None fails, however many workers died meanwhile.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from app.cli.ownership import living
from app.jobs import keys
from app.jobs.connection import connect
from app.jobs.record import Job, JobKind, JobState
from app.jobs.spool import Spool
from app.jobs.store import JobStore
from app.settings import load_settings
from tests.e2e.conftest import Stack
from tests.integration.daemon_chaos import Content, play
from tests.integration.daemon_process import until
from tests.scripted_transcripts import TONES, beginnings, catalog, said_of, talk

__all__ = ["Played", "StackFolder", "WholeStack", "play_on_a_stack"]

_PREY = ("redis", "api", "worker", "worker", "daemon")  # the worker has most to lose
_ABOUT_ONE_MS = 0.001  # records are as exact as that
_EARLY, _LATE = 1, 2  # strikes of a script: those who die again and again are started ever later
_CALL_S = 0.3  # about as long as one takes
_MOST_CALLS = 5  # of models, from one late strike to the next


class WholeStack:
    """A running stack that watches a folder for each seed."""

    def __init__(self, place: Path, seeds: Sequence[int], models: Path) -> None:
        self.home = place / "home"
        self.home.mkdir()
        (self.home / "models").symlink_to(models)
        self.folders = {seed: place / f"in-{seed}" for seed in seeds}
        self.models = place / "scripted"
        self.models.mkdir()
        for folder in self.folders.values():
            folder.mkdir()
        settings = {"CATALOG": str(catalog(self.models, ears="tones")), "TRANSCRIBE_SETTLE": "0.1", "TRANSCRIBE_RESCAN": "1"}
        first, *others = map(str, self.folders.values())
        self._stack = Stack(self.home, TRANSCRIBE_DIR=first, TRANSCRIBE_DIRS=os.pathsep.join(others), **settings)
        self.kills: list[tuple[float, str]] = []  # when, and which process
        self._killed: set[int] = set()
        self._killing = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[WholeStack]:
        """Run it until the block ends, and see that it stops in good order unless something failed."""
        try:
            self._stack.wait_until_ready()
            yield self
        except BaseException:
            self._stack.stop()
            raise
        assert self._stack.stop() == 0, self.output

    @property
    def output(self) -> str:
        """What the supervisor said."""
        return self._stack.output.read_text()

    def kill(self, process: str) -> None:
        """``kill -9``, if it lives and nobody else has just done that."""
        with self._killing, suppress(KeyError, ProcessLookupError):
            pid = living(self.home / "run")[process].pid
            if pid not in self._killed:
                self._killed.add(pid)
                self.kills.append((time.time(), process))
                os.kill(pid, signal.SIGKILL)

    def state(self) -> dict[str, Any]:
        """Return what the daemon says of its files."""
        with suppress(OSError, ValueError):
            return dict(json.loads((self.home / "transcribe" / "state.json").read_text()))
        return {}

    @contextmanager
    def store(self) -> Iterator[JobStore]:
        """Reach the jobs."""
        settings = load_settings(home=self.home)
        client = connect(settings)
        try:
            yield JobStore(client, Spool(settings.spool_dir))
        finally:
            client.close()

    def count_calls(self) -> int:
        """Return how many calls have begun."""
        return len(self._begun())

    def calls(self) -> dict[str, list[float]]:
        """Return when the models were asked, by the job that it was for."""
        found: dict[str, list[float]] = {}
        for at, job_id in self._begun():
            found.setdefault(job_id, []).append(at)
        return found

    def _begun(self) -> list[tuple[float, str]]:
        return sorted((at, work.partition("/")[0]) for model in ("tones", "editor") for at, work in beginnings(self.models, model))


class StackFolder:
    """A :class:`~tests.integration.daemon_chaos.Stage` of one script: its folder of a whole stack."""

    pauses_s: Sequence[float] = (0, 0.1, 0.2, 0.4, 0.8)
    patience_s = 180.0

    def __init__(self, seed: int, stack: WholeStack) -> None:
        self.folder = stack.folders[seed]
        self._stack = stack
        self._random = random.Random(f"strikes of {seed}")  # noqa: S311 - chance, not secrets
        tones = iter(self._random.sample(range(TONES), 9))
        spoken = [[next(tones) for _ in range(count)] for count in (1, 2, 3, 3)]
        texts = ["\n\n".join(map(said_of, tones)) for tones in spoken]
        self.contents: Sequence[Content] = [
            Content(talk(tones), text, text.replace("teh", "the")) for tones, text in zip(spoken, texts, strict=True)
        ]
        self._strikes = 0

    def begin(self) -> None:
        """Nothing: the stack runs."""

    def strike(self) -> None:
        """Kill one of the processes, a few times."""
        self._strikes += 1
        if self._strikes <= _EARLY:
            self._stack.kill(self._random.choice(_PREY))

    def calm(self) -> None:
        """Kill some more while models work on what was dropped; the supervisor brings everything back."""
        for _ in range(_LATE):
            enough = self._stack.count_calls() + self._random.randint(1, _MOST_CALLS)
            until(lambda: self._stack.count_calls() >= enough or self._is_archived(), self.told, self.patience_s)  # noqa: B023 - called here
            time.sleep(self._random.random() * _CALL_S)
            self._stack.kill(self._random.choice(_PREY))

    def _is_archived(self) -> bool:
        return self.standing() == {} and not any(path.suffix != ".md" and "done" not in path.parts for path in self.folder.rglob("*.*"))

    def standing(self) -> Mapping[str, Any] | None:
        """Return what the daemon says of this folder's recordings that are not finished."""
        files = self._stack.state().get("files")
        return None if files is None else {one["path"]: one for one in files if one["folder"] == str(self.folder)}

    def told(self) -> object:
        """Return what the supervisor and the daemon say."""
        return self._stack.state(), self._stack.kills, self._stack.output

    def end(self) -> None:
        """Nothing: others use the stack."""

    def abandon(self) -> None:
        """Likewise."""

    def check_calls(self, survived: Sequence[Content]) -> None:
        """See that the rule holds."""
        calls = self._stack.calls()
        with self._stack.store() as store:
            jobs: dict[str, list[Job]] = {content.sha256: [] for content in self.contents}
            for job in store.list_jobs(kind=JobKind.TRANSCRIPT, limit=1000):
                (blob,) = json.loads(str(store.client.hget(keys.job(job.id), "blobs")))
                jobs.get(blob, []).append(job)
            for content in self.contents:
                assert len(jobs[content.sha256]) <= 1, "a recording was transcribed twice"
            for content in survived:
                (job,) = jobs[content.sha256]
                parts = [one for one in _family(store, job) if not one.child_count]
                self._check_parts(store, parts, calls)

    def _check_parts(self, store: JobStore, parts: Sequence[Job], calls: Mapping[str, Sequence[float]]) -> None:
        kills = [at for at, process in self._stack.kills if process in {"worker", "redis"}]
        for part in parts:
            asked = calls[part.id]
            assert part.state is JobState.SUCCEEDED, f"{part.id} failed: {part.error}"
            assert store.client.hget(keys.job(part.id), "commits") == "1", f"{part.id} was committed twice"
            for one, other in pairwise(asked):
                assert any(one < at < other for at in kills), f"{part.id} was at its model twice, and nobody was killed: {asked} {kills}"
            ended = part.finished_at
            assert ended is not None and asked[-1] <= ended.timestamp() + _ABOUT_ONE_MS, f"{part.id} was asked for again after its end"  # noqa: PT018


def _family(store: JobStore, job: Job) -> Iterator[Job]:
    yield job
    for number in range(job.child_count):
        yield from _family(store, store.get(keys.child(job.id, number)))


class Played(NamedTuple):
    """What came of some scripts."""

    failed: Mapping[int, str]  # what went wrong, by seed
    kills: int
    calls: int  # of models
    repeated: int  # of these, for a part that had been at its model before


def play_on_a_stack(seeds: Sequence[int], place: Path, models: Path) -> Played:
    """Play the scripts of *seeds* side by side on one stack in *place*, whose starter models are in the folder *models*."""
    stack = WholeStack(place, seeds, models)
    try:
        with stack.running():
            failed = play({seed: partial(StackFolder, seed, stack) for seed in seeds})
    except AssertionError as error:  # of the stack itself
        failed = dict.fromkeys(seeds, str(error))
    calls = stack.calls()
    asked = sum(map(len, calls.values()))
    return Played(failed, len(stack.kills), asked, asked - len(calls))
