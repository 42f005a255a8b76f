"""A fake worker that answers whatever comes, on a thread of its own, in the words of production's own writers.

It grants wishes too: what is to be in memory is said to be there, and what is to leave no longer is.
What it says is not about the question. The number of answers, likelihoods, encodings and dimensions are as asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np

from app.actors.choices import answers_to_each
from app.actors.counting import counted
from app.actors.outputs import chat_completion, download_report, embedding_list, text_completion
from app.actors.pages import blank_page, ocr_body
from app.actors.ranking import ranked_list
from app.actors.runs import Choice, Downloaded
from app.actors.transcripts import Transcript, transcript_body
from app.audio.encoding import CONTENT_TYPES, encode
from app.engines.hearing import Segment, Word
from app.engines.protocols import Embedded, Finished, Sampling, TextWork
from app.engines.ranking import Ranked
from app.errors import InvalidRequest
from app.jobs import keys
from app.jobs.claims import Claimed
from app.jobs.decoding import ModelState
from app.jobs.logprobs import TokenLogprob
from app.jobs.record import JobKind, JobState
from app.jobs.requests import prompts_of
from app.jobs.streams import SoundPiece
from app.jobs.wishes import Wish, Wishes
from app.settings import Settings
from tests.integration.fake_worker import FakeWorker

_TEXT = "A horse is a horse"
_DIMENSIONS = 4
_BYTES = 1_000_000
_RATE = 24_000


@contextmanager
def answering(settings: Settings) -> Iterator[None]:
    """Answer every job until the block ends."""
    worker = FakeWorker(settings)
    wishes = Wishes(worker.store)
    resident: dict[str, ModelState] = {}
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            asked = wishes.all()
            for model, wish in asked.items():
                _move(resident, model, wish)
            worker.appear(**resident)  # again and again: a heartbeat lapses
            for model, wish in asked.items():
                wishes.replace(model, wish, None)
            claims = [claimed for job_id in _waiting(worker) if (claimed := worker.try_to_claim(job_id))]
            for claimed in claims:
                _answer(worker, claimed)
            if not claims:
                worker.wait_for_work(0.1)

    thread = threading.Thread(target=serve, name="answering-worker")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
        worker.close()


def _waiting(worker: FakeWorker) -> list[str]:
    """Return what is queued, oldest first: jobs, then the lines of batches."""
    jobs = [job.id for job in reversed(worker.store.list_jobs(state=JobState.QUEUED, limit=100))]
    return [*jobs, *cast("list[str]", worker.store.client.zrange(keys.state_index(JobState.QUEUED, children=True), 0, -1))]


def _move(resident: dict[str, ModelState], model: str, wish: Wish) -> None:
    if wish.want == "resident":
        resident[model] = ModelState(state="resident", bytes=_BYTES)
    else:
        resident.pop(model, None)


def _answer(worker: FakeWorker, job: Claimed) -> None:
    if job.kind is JobKind.DOWNLOAD:
        output = download_report(Downloaded(job.model, job.request["repo"], _BYTES, 0.5, "/models"))
        worker.store.commit(job.id, job.token, JobState.SUCCEEDED, output=output)
        return
    if job.kind is JobKind.EMBEDDING:
        _embed(worker, job)
        return
    if job.kind in {JobKind.TRANSCRIPTION, JobKind.TRANSLATION}:
        _write_down(worker, job)
        return
    if job.kind in {JobKind.RERANK, JobKind.COUNT}:
        scores = np.linspace(0, 1, len(job.request.get("documents", ())), dtype=np.float32)
        made = ranked_list(job, Ranked("w", scores, prompt_tokens=5)) if job.kind is JobKind.RERANK else counted(7)
        worker.store.commit(job.id, job.token, JobState.SUCCEEDED, output=made.output, usage=made.usage)
        return
    if job.kind is JobKind.OCR:
        page, spent = blank_page(1)
        made = ocr_body([(page | {"text": _TEXT, "markdown": _TEXT}, spent)], job.model, job.request)
        worker.store.commit(job.id, job.token, JobState.SUCCEEDED, output=made.output, usage=made.usage, media_type=made.media_type)
        return
    if job.kind is JobKind.SPEECH:
        _speak(worker, job)
        return
    prompts = prompts_of(job.request["prompt"]) if job.kind is JobKind.COMPLETION else [""]
    asked = job.request.get("logprobs")
    logprobs = _likelihoods(job) if asked is not None and asked is not False else []
    choices = [_choice(logprobs) for _ in range(len(prompts) * answers_to_each(job))]
    for number in range(len(choices)):
        worker.say(job, _TEXT, choice=number, logprobs=logprobs)
    write = chat_completion if job.kind is JobKind.CHAT else text_completion
    output, usage = write(job, 1_700_000_000, choices)
    worker.store.commit(job.id, job.token, JobState.SUCCEEDED, output=output, usage=usage)


def _write_down(worker: FakeWorker, job: Claimed) -> None:
    segment = Segment(0.0, 1.0, _TEXT, -0.25, 0.01)
    heard = Transcript(_TEXT, "en", (segment,), tuple(Word(0.0, 1.0, word) for word in _TEXT.split()))
    made = transcript_body(heard, job.request, task="transcribe", duration_s=1.5)
    worker.say(job, _TEXT)
    worker.store.commit(job.id, job.token, JobState.SUCCEEDED, output=made.output, usage=made.usage, media_type=made.media_type)


def _speak(worker: FakeWorker, job: Claimed) -> None:
    sound = SoundPiece(sentence=0, offset=0, rate=_RATE, last=True, pcm=bytes(_RATE))
    worker.store.publish_sound([(job.id, job.token, sound)])
    form = job.request.get("response_format", "mp3")
    usage = {"input_tokens": 3, "output_tokens": 6, "total_tokens": 9}
    output = encode(sound.pcm, form, _RATE)
    worker.store.commit(job.id, job.token, JobState.SUCCEEDED, output=output, usage=usage, media_type=CONTENT_TYPES[form])


def _likelihoods(job: Claimed) -> list[TokenLogprob]:
    others = job.request.get("top_logprobs") if job.kind is JobKind.CHAT else job.request["logprobs"]
    return [(_TEXT.encode(), -0.25, tuple((b"\xc3", -float(n + 1)) for n in range(others or 0)))]


def _choice(logprobs: list[TokenLogprob]) -> Choice:
    work = TextWork("w", prompt=(1,), max_tokens=1, sampling=Sampling(seed=0))
    finished = Finished("w", reason="stop", prompt_tokens=7, completion_tokens=3, cached_tokens=2)
    return Choice(work, [_TEXT], logprobs, finished=finished)


def _embed(worker: FakeWorker, job: Claimed) -> None:
    rows = np.eye(len(prompts_of(job.request["input"])), _DIMENSIONS, dtype=np.float32)
    try:
        output, usage = embedding_list(job, Embedded("w", rows, prompt_tokens=5))
    except InvalidRequest as error:
        worker.fail(job, error.code, error.message, error.param)
    else:
        worker.store.commit(job.id, job.token, JobState.SUCCEEDED, output=output, usage=usage)
