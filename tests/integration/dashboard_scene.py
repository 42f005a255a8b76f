"""A stack for the dashboard to show: jobs, models that come and go, and a past, as the store's own writers put them there.

The past is made: jobs run through the store's moves in an instant, and then
their records and the memory log are given the times of a busy quarter of an hour.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence

from app.actors.presence import Presence
from app.errors import Failure
from app.jobs import keys
from app.jobs.chains import Chains
from app.jobs.claims import Claimed
from app.jobs.decoding import ModelState
from app.jobs.estimate import Outlook
from app.jobs.record import JobKind, JobState, Lane, Progress
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.integration.fake_worker import FakeWorker

__all__ = ["BUDGET", "CATALOG", "LARGE", "SMALL", "Scene"]

LARGE, SMALL, EMBEDDING, EARS = "qwen3-14b", "qwen3-4b", "qwen3-embedding-0.6b", "qwen3-asr-1.7b"
GB = 10**9
BUDGET = 16 * GB
_SIZES = {LARGE: 9_200_000_000, SMALL: 2_600_000_000, EMBEDDING: 700_000_000, EARS: 3_400_000_000}
_TASKS = {LARGE: "chat", SMALL: "chat", EMBEDDING: "embedding", EARS: "asr"}
_DEEP = 1_000_000

CATALOG = (
    "".join(f'[[model]]\nid = "{model}"\nrepo = "./{model}"\ntasks = ["{task}"]\n' for model, task in _TASKS.items())
    + f'[roles]\nchat = "{LARGE}"\nembedding = "{EMBEDDING}"\nasr = "{EARS}"\n'
)


def chat(model: str = LARGE, lane: Lane = Lane.BATCH, text: str = "Why is the sky blue?") -> NewJob:
    request = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 400}
    return NewJob(kind=JobKind.CHAT, model=model, lane=lane, request=request, waited=False)


class Scene:
    """Puts jobs and models on the stage."""

    def __init__(self, settings: Settings) -> None:
        self.worker = FakeWorker(settings)
        self.store = self.worker.store
        self.presence = Presence(self.store, "4b1c-9e02a7d1")
        self._models: dict[str, ModelState] = {}

    def close(self) -> None:
        self.worker.close()

    def hold(self, *models: str, loading: str = "") -> None:
        """Have these models in memory, and perhaps one on its way."""
        states = {model: ModelState(state="resident", bytes=_SIZES[model], outlook=Outlook(ready_at=0, job_s=6, slots=8)) for model in models}
        if loading:
            states[loading] = ModelState(state="loading", detail=f"{loading} is being loaded.", outlook=Outlook(ready_at=self.store.now() + 4))
        for model in self._models.keys() | states.keys():
            self.presence.report(model, states.get(model))
        self._models = states
        used = sum(_SIZES[model] for model in models) + (_SIZES[loading] if loading else 0) + GB
        self.presence.report_memory(used, BUDGET, short=False)
        self.presence.beat()

    def want(self, model: str, holder: str) -> None:
        """Let jobs of a model wait for memory that another holds."""
        detail = f"{model} needs 9.4 GB, and 3.1 GB of 16.0 GB are free: it comes when {holder} has finished."
        self._models[model] = ModelState(state="waiting", reason="waits_for_memory", detail=detail)
        self.presence.report(model, self._models[model])
        self.presence.beat()

    def queue(self, *jobs: NewJob) -> list[str]:
        """Submit jobs."""
        return [self.store.submit(job, max_queued=_DEEP).job_id for job in jobs]

    def run(self, job: NewJob) -> Claimed:
        """Submit a job and claim it."""
        claimed = self.worker.try_to_claim(self.queue(job)[0])
        assert claimed is not None
        return claimed

    def finish(self, claimed: Claimed, text: str = "Because air scatters blue light more than red.") -> None:
        """End a chat well."""
        self.worker.finish_chat(claimed, text)

    def fail(self, claimed: Claimed) -> None:
        """End a job badly."""
        self.worker.fail(claimed, "context_length_exceeded", "The prompt has 41,872 tokens and 400 are asked for; qwen3-14b takes 40,960.")

    def download(self, model: str, done: int, total: int) -> None:
        """Have a model's files come."""
        running = self.run(NewJob(kind=JobKind.DOWNLOAD, model=model, lane=Lane.BATCH, request={"repo": model}, waited=False))
        progress = Progress(done=done, total=total, unit="bytes", rate_per_s=48e6, eta_s=(total - done) / 48e6)
        self.store.publish_progress([(running.id, running.token, progress)])

    def record(self, done_s: int, total_s: int) -> None:
        """Have a recording written down."""
        running = self.run(NewJob(kind=JobKind.TRANSCRIPT, model=EARS, lane=Lane.BATCH, request={}, waited=False))
        progress = Progress(done=done_s, total=total_s, unit="seconds", stage="transcribing")
        self.store.publish_progress([(running.id, running.token, progress)])

    def divide(self, parts: int) -> str:
        """Have a job done as many, of which some are done; return its id."""
        whole = self.run(NewJob(kind=JobKind.TRANSCRIPTION, model=EARS, lane=Lane.BATCH, request={}, waited=False))
        child = {"kind": JobKind.TRANSCRIPTION, "model": EARS, "request": {}}
        assert Chains(self.store) and child and parts
        return whole.id

    def have_a_past(self, jobs: int = 60) -> None:
        """Let a quarter of an hour have gone by, with work."""
        now = self.store.now()
        for number in range(jobs):
            model = (LARGE, LARGE, SMALL, EMBEDDING)[number % 4]
            running = self.run(chat(model, Lane.INTERACTIVE if number % 3 else Lane.BATCH))
            if number == jobs - 7:
                self.fail(running)
            else:
                self.finish(running)
            ended = now - 880 + 860 * number / jobs
            took = 3.0 + number * 7 % 11
            tokens = {LARGE: 120 + number * 37 % 240, SMALL: 300 + number * 53 % 200, EMBEDDING: 0}[model]
            usage = {"prompt_tokens": 40 + number * 31 % 900, "completion_tokens": tokens, "total_tokens": 0}
            times = {"created_at": ended - took - number % 5, "started_at": ended - took, "finished_at": ended}
            record = {name: f"{at:.3f}" for name, at in times.items()} | {"usage": json.dumps(usage)}
            self._client.hset(keys.job(running.id), mapping=record)
        self._remember(now)

    def _remember(self, now: float) -> None:
        """Write the memory log of that time."""
        story: Sequence[tuple[int, str, str, int]] = [
            (900, "began", "", 0),
            (890, "loading", EMBEDDING, 1),
            (888, "resident", EMBEDDING, 2),
            (884, "loading", LARGE, 11),
            (871, "resident", LARGE, 12),
            (520, "gone", LARGE, 2),
            (519, "loading", SMALL, 4),
            (515, "resident", SMALL, 5),
            (512, "loading", EARS, 8),
            (507, "resident", EARS, 9),
            (290, "gone", EARS, 5),
            (170, "gone", SMALL, 2),
            (169, "loading", LARGE, 11),
            (155, "resident", LARGE, 12),
        ]
        for ago, what, model, used in story:
            facts = {"worker": "4b1c-9e02a7d1", "what": what, "model": model, "used_bytes": used * GB, "budget_bytes": BUDGET}
            size = _SIZES[model] if what == "resident" else 0
            self._client.xadd(keys.MEMORY, {**facts, "bytes": size}, id=f"{int((now - ago) * 1000)}-0")  # type: ignore[arg-type]

    @property
    def _client(self):  # noqa: ANN202
        return self.store.client

    @staticmethod
    def token() -> str:
        return secrets.token_hex(4)


_ = (Failure, JobState)
