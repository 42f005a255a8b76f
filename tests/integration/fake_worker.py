"""A worker without models: moves jobs through the real store as a worker would, each time a test says so."""

from __future__ import annotations

import base64
import secrets
import struct
import time
from collections.abc import Sequence

from pydantic_core import to_json

from app.actors.presence import Presence
from app.errors import Failure
from app.jobs import keys
from app.jobs.calls import CallDelta, tool_calls
from app.jobs.claims import Claimed
from app.jobs.connection import connect
from app.jobs.decoding import ModelState
from app.jobs.logprobs import TokenLogprob
from app.jobs.record import Job, JobState, completion_id
from app.jobs.spool import Spool
from app.jobs.store import JobStore
from app.jobs.streams import Piece
from app.settings import Settings

_PATIENCE_S = 30.0


class FakeWorker:
    """Claims, publishes and commits. Its waits end with the store's own wake-up messages."""

    def __init__(self, settings: Settings) -> None:
        self._client = connect(settings)
        self.store = JobStore(self._client, Spool(settings.spool_dir))
        self._wake = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._wake.subscribe(keys.WAKE)
        self._wake.get_message(timeout=_PATIENCE_S)  # the confirmation: from here on nothing is missed

    def close(self) -> None:
        self._wake.close()
        self._client.close()

    def claim(self) -> Claimed:
        """Wait for a queued job and take it."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            for job in reversed(self.store.list_jobs(state=JobState.QUEUED, limit=1000)):
                if claimed := self.try_to_claim(job.id):
                    return claimed
            self._wake.get_message(timeout=1.0)
        message = "no job was submitted"
        raise AssertionError(message)

    def try_to_claim(self, job_id: str) -> Claimed | None:
        """Take a job if it is still queued."""
        announce = int(str(self._client.hget(keys.job(job_id), "announce") or 0))
        claimed = self.store.claim(job_id, announce, worker="fake", token=secrets.token_hex(4))
        return claimed if isinstance(claimed, Claimed) else None

    def wait_for_work(self, patience_s: float) -> None:
        """Wait until something is submitted, at most so long."""
        self._wake.get_message(timeout=patience_s)

    def wait_for(self, job_id: str, state: JobState) -> Job:
        """Wait until a job is in *state*."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            job = self.store.get(job_id)
            if job.state is state:
                return job
            self._wake.get_message(timeout=1.0)
        message = f"{job_id} is {job.state}, not {state}"
        raise AssertionError(message)

    def say(
        self,
        job: Claimed,
        text: str = "",
        ids: Sequence[int] = (1,),
        *,
        choice: int = 0,
        logprobs: Sequence[TokenLogprob] = (),
        reasoning: str = "",
        calls: Sequence[CallDelta] = (),
    ) -> list[str]:
        """Publish one piece of an answer; return the ids of jobs that are no longer ours."""
        return self.store.publish_tokens([Piece(job.id, job.token, ids, text, choice, logprobs, reasoning, calls)])

    def finish_chat(self, job: Claimed, text: str, *, reason: str = "stop", reasoning: str = "", calls: Sequence[CallDelta] = ()) -> bool:
        """Commit a chat completion, in the shape of ``actors/outputs.py``."""
        usage = {
            "prompt_tokens": 7,
            "completion_tokens": 3,
            "total_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1 if reasoning else 0},
        }
        message: dict[str, object] = {"role": "assistant", "content": text, "refusal": None}
        if reasoning:
            message["reasoning_content"] = reasoning
        if calls:
            message |= {"content": text or None, "tool_calls": tool_calls(job.id, 0, calls)}
            reason = "tool_calls" if reason == "stop" else reason
        body = {
            "id": completion_id(job.id),
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": job.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
            "usage": usage,
        }
        return self.store.commit(job.id, job.token, JobState.SUCCEEDED, output=to_json(body), usage=usage)

    def finish_embedding(self, job: Claimed) -> bool:
        """Commit ``[text number, dimensions asked for]`` for each text, in the encoding asked for."""
        texts = job.request["input"]
        rows = [[float(n), float(job.request.get("dimensions", 0))] for n in range(1 if isinstance(texts, str) else len(texts))]
        if job.request.get("encoding_format") == "base64":
            vectors: list[object] = [base64.b64encode(struct.pack("<2f", *row)).decode() for row in rows]
        else:
            vectors = list(rows)
        usage = {"prompt_tokens": 5, "total_tokens": 5}
        data = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
        body = {"object": "list", "data": data, "model": job.model, "usage": usage}
        return self.store.commit(job.id, job.token, JobState.SUCCEEDED, output=to_json(body), usage=usage)

    def fail(self, job: Claimed, code: str, message: str, param: str | None = None) -> bool:
        """Commit a failure."""
        failure = Failure(code=code, message=message, param=param)
        return self.store.commit(job.id, job.token, JobState.FAILED, error=failure)

    def die(self, job: Claimed) -> None:
        """Lose the job, as a rescue finds it after a worker's death."""
        self.store.release(job.id, job.token)

    def appear(self, **models: ModelState) -> None:
        """Say that this worker lives, and what its models do."""
        presence = Presence(self.store, "fake-1")
        for model, state in models.items():
            presence.report(model.replace("_", "-"), state)
        presence.beat()

    def use(self, used_bytes: int, budget_bytes: int, *, taken_bytes: int = 0, short: bool = False, batch_waits: str = "") -> None:
        """Say that this worker lives, how much memory its models use, and what does not begin."""
        presence = Presence(self.store, "fake-1")
        presence.report_memory(used_bytes, budget_bytes, taken_bytes, short=short)
        presence.report_narrowing(batch_waits)
        presence.beat()

    def leave(self) -> None:
        """Say goodbye, as a stopping worker does."""
        Presence(self.store, "fake-1").leave()
