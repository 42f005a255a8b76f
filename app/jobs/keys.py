"""The names of our keys in Redis. Only the modules of the store read this one.

Everything is readable in a Redis dashboard: a hash for each job, a sorted set
for each state, streams for events, nothing binary.
"""

from __future__ import annotations

import re

from app.jobs.record import JobKind, Lane

__all__ = [
    "BATCH",
    "BATCHES",
    "CHAINS",
    "CONTROL",
    "COUNTS",
    "DOWNLOADS",
    "LOADS",
    "MACHINES",
    "MEMORY",
    "METRICS",
    "PREFIX",
    "QUARANTINE",
    "RETENTION",
    "STANDING",
    "WAKE",
    "WEBHOOK",
    "WISHES",
    "batch",
    "child",
    "delivery_index",
    "downloads_of",
    "idempotency",
    "is_downloads",
    "job",
    "model_index",
    "models_of",
    "owner_index",
    "queue",
    "queue_name",
    "queue_of",
    "state_index",
    "tokens",
    "worker",
]

PREFIX = "mlx:"
QUARANTINE = "quarantine"
DOWNLOADS = "download"  # the queue of downloads: they need no model, and their lanes are one
CHAINS = "chain"  # the queue of steps that need no model, and so never wait for one: of parents whose children have ended, and transcripts
COUNTS = "count"  # the queue of those who want to know how many tokens a chat has: a tokenizer tells, no weights
BATCH = "batch"  # stands for the queue of batches, which have none: no message is about them, API processes see to them
WEBHOOK = "webhook"  # likewise of deliveries
SCHEMA = f"{PREFIX}schema"
FILES = f"{PREFIX}files"  # sorted set: uploaded files by time
BATCHES = f"{PREFIX}batches"  # sorted set: batches that are not settled, by order of submission
EVENTS = f"{PREFIX}events"
MEMORY = f"{PREFIX}memory"  # stream: which models came and went, and how much memory was used; trimmed
QUEUES = f"{PREFIX}queues"
WORKERS = f"{PREFIX}workers"
UNANNOUNCED = f"{PREFIX}unannounced"
LINGERING = f"{PREFIX}lingering"
ENDED_WAITED = f"{PREFIX}ended:waited"
ENDED_SUBMITTED = f"{PREFIX}ended:submitted"
WAKE = f"{PREFIX}wake"  # channel: a job's id, whenever its stream or state changed
CONTROL = f"{PREFIX}control"  # channel: "cancel JOB", "queue NAME", "wish MODEL" and "worker ID", for workers
WISHES = f"{PREFIX}wishes"  # hash: model id to what users want of it, as JSON
LOADS = f"{PREFIX}loads"  # hash: model id to the worker that loads it, and the token of that load
MACHINES = f"{PREFIX}machines"  # hash: home to what its worker had when it was last heard of
RETENTION = f"{PREFIX}retention"  # hash: how long and how much is kept of what has ended
METRICS = f"{PREFIX}metrics"  # hash: what has been counted since the store was made; series.py says what
STANDING = f"{PREFIX}standing"  # hash: KIND:STATE to how many jobs are there; it is counted anew where it is missing


_OF_KIND = {JobKind.COUNT: COUNTS, JobKind.TRANSCRIPT: CHAINS, JobKind.BATCH: BATCH, JobKind.WEBHOOK: WEBHOOK}


def job(job_id: str) -> str:
    """Hash: the record."""
    return f"{PREFIX}job:{job_id}"


def batch(job_id: str, what: str) -> str:
    """What is remembered of a batch's lines while it is not settled: ``fed``, ``lines``, ``ended`` or ``parts``."""
    return f"{PREFIX}batch:{job_id}:{what}"


def file(file_id: str) -> str:
    """Hash: an uploaded file."""
    return f"{PREFIX}file:{file_id}"


def tokens(job_id: str) -> str:
    """Stream: state moves, tokens and progress of one job."""
    return f"{PREFIX}tok:{job_id}"


def state_index(state: str, *, children: bool = False) -> str:
    """Sorted set of job ids by order of submission; children have one of their own, by the order in which they were let in."""
    return f"{PREFIX}{'children' if children else 'jobs'}:{state}"


def delivery_index(state: str) -> str:
    """Sorted set of the deliveries of webhooks, by the order of what they tell; they are in no other list of jobs but their owner's."""
    return f"{PREFIX}deliveries:{state}"


def model_index(model: str, *, children: bool = False) -> str:
    """Sorted set of job ids by order of submission; the set of children has no order."""
    return f"{PREFIX}{'children' if children else 'jobs'}:model:{model}"


def owner_index(owner: str) -> str:
    """Sorted set of the job ids of one API key by order of submission; children are found by their parents."""
    return f"{PREFIX}jobs:owner:{owner}"


def child(parent: str, number: int) -> str:
    """Return the id of a child; numbers begin at 0."""
    return f"{parent}.{number}"


def queue(name: str) -> str:
    """Sorted set: the queued jobs of one queue by order of submission. Positions come from here."""
    return f"{PREFIX}queue:{name}"


def worker(worker_id: str) -> str:
    """Hash with a TTL: what a living worker says of itself."""
    return f"{PREFIX}worker:{worker_id}"


def models_of(worker_id: str) -> str:
    """Hash: model id to what this worker says of the model, as JSON."""
    return f"{PREFIX}models:{worker_id}"


def idempotency(scope: str, key: str) -> str:
    """Hash with a TTL: which job the first submission with an idempotency key made, and the digest of its body."""
    return f"{PREFIX}idem:{scope}:{key}"


def queue_name(model: str, lane: Lane) -> str:
    """Return the Dramatiq queue of *model* and *lane*: a slug, because Dramatiq allows no other names."""
    return f"{re.sub(r'[^a-zA-Z0-9_-]', '-', model).lower()}_{lane.value}"


def downloads_of(home: str | None) -> str:
    """Return the queue of the downloads of one home; None: of whichever machine has the jobs."""
    return DOWNLOADS if home is None else f"{DOWNLOADS}_{home}"


def is_downloads(queue: str) -> bool:
    """Whether a queue has downloads. No model's has such a name: those end with their lane."""
    return queue == DOWNLOADS or re.fullmatch(rf"{DOWNLOADS}_[0-9a-f]+", queue) is not None


def queue_of(kind: JobKind, model: str, lane: Lane, home: str | None = None) -> str:
    """Return the Dramatiq queue of a job; *home* is where a download is wanted."""
    return (downloads_of(home) if kind is JobKind.DOWNLOAD else _OF_KIND.get(kind)) or queue_name(model, lane)
