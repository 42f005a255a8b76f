"""A stack for the dashboard to show: jobs, models that come and go, and a past, as the store's own writers put them there.

The past is made: jobs run through the store's moves in an instant, and then
their records and the memory log are given the times of a busy quarter of an hour.
"""

from __future__ import annotations

import json
from typing import Any

from app.actors.presence import Presence
from app.jobs import keys
from app.jobs.chains import Chains, Child, Plan
from app.jobs.claims import Claimed
from app.jobs.decoding import ModelState
from app.jobs.estimate import Outlook
from app.jobs.record import JobKind, Lane, Progress
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.integration.fake_worker import FakeWorker

__all__ = ["EARS", "EMBEDDING", "LARGE", "SMALL", "Scene", "asked", "with_models"]

LARGE, SMALL, EMBEDDING, EARS = "qwen3-14b", "qwen3-4b", "qwen3-embedding-0.6b", "qwen3-asr-1.7b"
GB = 10**9
_WORKER = "4b1c-9e02a7d1"
_BUDGET = 16 * GB
_SIZES = {LARGE: 9_200_000_000, SMALL: 7_600_000_000, EMBEDDING: 700_000_000, EARS: 3_400_000_000}
_TASKS = {LARGE: "chat", SMALL: "chat", EMBEDDING: "embedding", EARS: "asr"}
_KINDS = {"chat": JobKind.CHAT, "embedding": JobKind.EMBEDDING, "asr": JobKind.TRANSCRIPTION}
_DEEP = 1_000_000

# Seconds ago, what, which model, and how many GB were used then.
_STORY = (
    (895, "began", "", 0),
    (890, "loading", EMBEDDING, 1),
    (888, "resident", EMBEDDING, 2),
    (884, "loading", LARGE, 11),
    (871, "resident", LARGE, 12),
    (520, "gone", LARGE, 2),
    (519, "loading", SMALL, 9),
    (511, "resident", SMALL, 10),
    (505, "loading", EARS, 13),
    (500, "resident", EARS, 14),
    (290, "gone", EARS, 10),
    (170, "gone", SMALL, 2),
    (169, "loading", LARGE, 11),
    (155, "resident", LARGE, 11),
)


def with_models(settings: Settings) -> Settings:
    """Return settings whose catalog has the models of the scene, run by the scripted engine; their folders are here."""
    entries = ""
    for model, task in _TASKS.items():
        folder = settings.home / model
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").touch()
        engine = 'engine = "tests.scripted_engine:open_frontend"\n'
        entries += f'[[model]]\nid = "{model}"\nrepo = "./{model}"\ntasks = ["{task}"]\nmemory = {_SIZES[model]}\n{engine}'
    catalog = settings.home / "catalog.toml"
    catalog.write_text(f'{entries}[roles]\nchat = "{LARGE}"\nembedding = "{EMBEDDING}"\nasr = "{EARS}"\n')
    return settings.model_copy(update={"catalog": catalog})


def asked(model: str = LARGE, lane: Lane = Lane.BATCH, text: str = "Why is the sky blue?") -> NewJob:
    """Return a job of the kind that *model* is for."""
    kind = _KINDS[_TASKS[model]]
    request: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "max_tokens": 400}
    if kind is not JobKind.CHAT:
        request = {"input": text} if kind is JobKind.EMBEDDING else {}
    return NewJob(kind=kind, model=model, lane=lane, request=request, waited=False)


class Scene:
    """Puts jobs and models on the stage."""

    def __init__(self, settings: Settings) -> None:
        self.worker = FakeWorker(settings)
        self.store = self.worker.store
        self._presence = Presence(self.store, _WORKER)
        self._models: dict[str, ModelState] = {}

    def close(self) -> None:
        self.worker.close()

    def hold(self, *models: str, loading: str = "") -> None:
        """Have these models in memory, and perhaps one on its way."""
        ready = Outlook(ready_at=0, job_s=6, slots=8)
        states = {model: ModelState(state="resident", bytes=_SIZES[model], outlook=ready) for model in models}
        if loading:
            coming = Outlook(ready_at=self.store.now() + 4)
            states[loading] = ModelState(state="loading", detail=f"{loading} is being loaded.", outlook=coming)
        for model in dict.fromkeys((*self._models, *states)):
            self._presence.report(model, states.get(model))
        self._models = states
        self._presence.report_memory(GB + sum(_SIZES[model] for model in states), _BUDGET, short=False)
        self._presence.beat()

    def deny(self, model: str, holder: str) -> None:
        """Let jobs of a model wait for memory that another holds."""
        detail = f"{model} needs 7.8 GB, and 5.1 GB of 16.0 GB are free: it comes when {holder} has finished."
        self._models[model] = ModelState(state="waiting", reason="waits_for_memory", detail=detail)
        self._presence.report(model, self._models[model])
        self._presence.beat()

    def queue(self, *jobs: NewJob) -> list[str]:
        """Submit jobs."""
        return [self.store.submit(job, max_queued=_DEEP).job_id for job in jobs]

    def run(self, job: NewJob) -> Claimed:
        """Submit a job and claim it."""
        return self.claim(self.queue(job)[0])

    def claim(self, job_id: str) -> Claimed:
        """Claim a queued job."""
        claimed = self.worker.try_to_claim(job_id)
        assert claimed is not None
        return claimed

    def end(self, claimed: Claimed, text: str = "Because air scatters blue light more than red.") -> None:
        """End a job well."""
        finish = self.worker.finish_embedding if claimed.kind is JobKind.EMBEDDING else lambda job: self.worker.finish_chat(job, text)
        assert finish(claimed)

    def fail(self, claimed: Claimed) -> None:
        """End a job badly."""
        message = "The prompt has 41,872 tokens and 400 are asked for; qwen3-14b takes 40,960."
        assert self.worker.fail(claimed, "context_length_exceeded", message, "messages")

    def download(self, model: str, done: int, total: int) -> None:
        """Have a model's files come."""
        running = self.run(NewJob(kind=JobKind.DOWNLOAD, model=model, lane=Lane.BATCH, request={"repo": model}, waited=False))
        progress = Progress(done=done, total=total, unit="bytes", rate_per_s=48e6, eta_s=(total - done) / 48e6)
        self.store.publish_progress([(running.id, running.token, progress)])

    def divide(self, parts: int, done: int) -> str:
        """Have a recording written down in parts, of which some are done; return its id."""
        whole = self.run(asked(EARS))
        chunk = Child(kind=JobKind.TRANSCRIPTION, model=EARS, request={}, units=30)
        assert Chains(self.store).plan(whole, Plan(children=(chunk,) * parts, window=2, unit="seconds"))
        for number in range(done):
            self.end(self.claim(keys.child(whole.id, number)))
        progress = Progress(done=30 * done, total=30 * parts, unit="seconds", rate_per_s=11.4, eta_s=30 * (parts - done) / 11.4)
        self.store.client.hset(keys.job(whole.id), "progress", progress.model_dump_json())  # as after a while
        return whole.id

    def have_a_past(self, jobs: int = 60) -> None:
        """Let a quarter of an hour have gone by, with work; the last but six failed."""
        now = self.store.now()
        for number in range(jobs):
            model = (LARGE, LARGE, SMALL, EMBEDDING)[number % 4]
            running = self.run(asked(model, Lane.INTERACTIVE if number % 3 else Lane.BATCH))
            record: dict[str, str] = {}
            if number == jobs - 7:
                self.fail(running)
            else:
                self.end(running)
                made = {LARGE: 120 + number * 37 % 240, SMALL: 300 + number * 53 % 200, EMBEDDING: 0}[model]
                usage = {"prompt_tokens": 40 + number * 31 % 900} | ({"completion_tokens": made} if made else {})
                record["usage"] = json.dumps(usage)
            ended, took = now - 880 + 870 * number / jobs, 3.0 + number * 7 % 11
            times = {"created_at": ended - took - number % 5, "started_at": ended - took, "finished_at": ended}
            for name, value in (record | {name: f"{at:.3f}" for name, at in times.items()}).items():
                self.store.client.hset(keys.job(running.id), name, value)
        for ago, what, model, used in _STORY:
            size = _SIZES[model] if what == "resident" else 0
            facts: dict[Any, Any] = {"worker": _WORKER, "what": what, "model": model, "bytes": size}
            memory = {"used_bytes": used * GB, "budget_bytes": _BUDGET}
            self.store.client.xadd(keys.MEMORY, facts | memory, id=f"{int((now - ago) * 1000)}-0")
