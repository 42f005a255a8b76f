"""A stand-in for the API that the daemon talks to: the kind ``transcript`` of ``/v1/jobs`` over real HTTP, without any model.

What it "hears" is a function of the content, so a test can tell whose text a
result has. A job is heard in the first half of its time, and corrected in the
second. The server counts what it was asked to hear, keeps its jobs while it is
stopped (as Redis would), and can be told to be full, or to lose connections.
Contents that begin with ``refuse``, ``deaf`` or ``mute`` are refused, fail to
be heard, and fail to be corrected.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.datastructures import UploadFile

__all__ = ["TranscriptServer", "heard_of", "mended_of"]


def heard_of(content: bytes) -> str:
    """Return what is heard in a recording."""
    return f"these are the words of {hashlib.sha256(content).hexdigest()}"


def mended_of(content: bytes) -> str:
    """Return the same, corrected."""
    return f"These are the words of {hashlib.sha256(content).hexdigest()}."


@dataclass
class Job:
    """A job, which is heard at one moment and ends at another."""

    id: str
    content: bytes
    request: dict[str, Any]
    key: str | None
    heard_at: float
    ends_at: float
    canceled: bool = False

    @property
    def is_heard(self) -> bool:
        """Whether its first part is done."""
        return time.monotonic() >= min(self.heard_at, self.ends_at) and not self.content.startswith(b"deaf")

    @property
    def state(self) -> str:
        """Where it stands."""
        if self.canceled:
            return "canceled"
        if time.monotonic() < self.ends_at:
            return "running"
        return "failed" if self.content.startswith((b"deaf", b"mute")) else "succeeded"

    def facts(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        error = None
        if self.state == "failed":
            deaf = self.content.startswith(b"deaf")
            error = {"code": "engine_error" if deaf else "model_load_failed", "message": "It broke." if deaf else "It does not fit."}
        stage = "correcting" if self.is_heard and "correct" in self.request["stages"] else "transcribing"
        progress = {"done": 1, "total": 2, "unit": "seconds", "stage": stage}
        return {"id": self.id, "kind": "transcript", "state": self.state, "error": error, "progress": progress, "waiting_for": None}

    def hearing(self) -> dict[str, Any]:
        """Return its child that writes the recording down."""
        state = "succeeded" if self.is_heard else self.state
        return self.facts() | {"id": f"{self.id}.0", "kind": "transcription", "state": state, "progress": None, "model": "ears"}


@dataclass
class TranscriptServer:
    """The server. Attributes may be changed while it runs."""

    takes_s: float = 0.0
    key: str | None = None
    full: bool = False
    loses: float = 0.0  # which part of its answers never arrives
    bends: bool = False  # its answer to a recording that begins with ``bent`` is one that no program can read
    uncertain: list[str] = field(default_factory=list)
    seed: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)
    heard: Counter[bytes] = field(default_factory=Counter)
    keys: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - chance, not secrets
        self._lock = threading.Lock()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])

    def start(self) -> None:
        """Listen, and return once it does."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self._server = uvicorn.Server(
            uvicorn.Config(self._app(), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=0)
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, name="transcript-server")
        self._thread.start()

    def stop(self) -> None:
        """Cut every connection and listen no more; what was accepted stays."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = self._server.force_exit = True
            self._thread.join()
            self._server = None

    @contextlib.contextmanager
    def serving(self) -> Iterator[TranscriptServer]:
        """Serve until the block ends."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def hear(self) -> None:
        """Let every job be heard now."""
        with self._lock:
            for job in self.jobs.values():
                job.heard_at = 0

    def finish(self) -> None:
        """Let every job end now."""
        with self._lock:
            self.takes_s = 0
            for job in self.jobs.values():
                job.ends_at = 0

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def lose(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
            if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
                return _problem(401, "invalid_api_key", "This server needs an API key.")
            if self.full:
                return _problem(503, "queue_full", "Too much waits.")
            answer = await call_next(request)
            if self._random.random() >= self.loses:
                return answer
            return StreamingResponse(_nothing(), headers={"Content-Length": "100"})

        @app.post("/v1/jobs")
        async def create(request: Request) -> Response:
            async with request.form() as form:
                upload = form["file"]
                assert isinstance(upload, UploadFile)
                content = await upload.read()
            return self._created(content, json.loads(str(form["request"])), str(form["kind"]), request.headers.get("idempotency-key"))

        @app.get("/v1/jobs/{job_id}")
        async def show(job_id: str) -> Response:
            job = self.jobs.get(job_id.removesuffix(".0"))
            if job and job_id.endswith(".0"):
                return JSONResponse(job.hearing())
            return JSONResponse(job.facts()) if job else _problem(404, "job_not_found", "There is no such job.")

        @app.get("/v1/jobs/{job_id}/output")
        async def output(job_id: str) -> Response:
            return self._output(job_id)

        @app.post("/v1/jobs/{job_id}/cancel")
        async def cancel(job_id: str) -> Response:
            self.jobs[job_id].canceled = True
            return JSONResponse(self.jobs[job_id].facts())

        return app

    def _created(self, content: bytes, request: dict[str, Any], kind: str, key: str | None) -> Response:
        if content.startswith(b"refuse") or kind != "transcript":
            return _problem(400, "unreadable_audio", "This is no recording that can be read.")
        if self.bends and content.startswith(b"bent"):
            return Response("[" * 100_000, media_type="application/json")
        digest = hashlib.sha256(content + json.dumps(request, sort_keys=True).encode()).hexdigest()
        with self._lock:
            for job in self.jobs.values():
                if key is not None and job.key == key and job.state not in {"failed", "canceled"}:
                    if self.keys[key] != digest:
                        return _problem(422, "idempotency_conflict", "This key was used with another body.")
                    return JSONResponse(job.facts(), 202)
            now = time.monotonic()
            job = Job(f"job_{secrets.token_hex(12)}", content, request, key, now + self.takes_s / 2, now + self.takes_s)
            self.jobs[job.id] = job
            self.heard[content] += 1
            if key is not None:
                self.keys[key] = digest
            return JSONResponse(job.facts(), 202)

    def _output(self, job_id: str) -> Response:
        job = self.jobs.get(job_id.removesuffix(".0"))
        if job is None:
            return _problem(404, "job_not_found", "There is no such job.")
        if job.content.startswith(b"deaf") and job_id.endswith(".0"):  # the output of a job that failed is its failure
            return _problem(500, "engine_error", "It broke.")
        if not job.is_heard if job_id.endswith(".0") else job.state != "succeeded":
            return _problem(409, "job_not_finished", "It has no output.")
        text = heard_of(job.content)
        segments = [{"start": 0.0, "end": 1.5, "text": text}]
        heard = {"duration": 1.5, "text": text, "segments": segments, "warnings": []}
        if job_id.endswith(".0"):
            return JSONResponse(heard | {"language": "english", "language_code": "en"})
        corrects = "correct" in job.request["stages"]
        mended = {
            "object": "transcript",
            "model": "ears",
            "language": "en",
            "heard_warnings": [],
            "correction_model": "mouth" if corrects else None,
            "corrected": mended_of(job.content) if corrects else None,
            "pieces": [{"raw": text, "corrected": mended_of(job.content), "kept_raw": None, "uncertain": self.uncertain}]
            if corrects
            else [],
            "corrected_pieces": int(corrects),
            "total_pieces": int(corrects),
            "uncertain_words": self.uncertain,
        }
        return JSONResponse(heard | mended)


async def _nothing() -> AsyncIterator[bytes]:
    yield b"{"
    message = "the connection is lost here"
    raise ConnectionError(message)


def _problem(status: int, code: str, detail: str) -> Response:
    return JSONResponse({"status": status, "code": code, "detail": detail}, status)
