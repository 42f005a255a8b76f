"""The job store: every move of a job, each one atomic script call.

Synchronous and thread-safe. The scripts may be repeated after a lost answer,
so the client retries; when Redis stays away, :class:`StoreUnavailable` is
raised. Reading is in :mod:`app.jobs.reading`, the key names in
:mod:`app.jobs.keys`; no other module knows them.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import redis

from app.errors import (
    DeadlineExceeded,
    Failure,
    IdempotencyConflict,
    IllegalTransition,
    JobNotFound,
    NewerSchema,
    QueueFull,
    WorkerCrashed,
)
from app.jobs import keys
from app.jobs.claims import Claimed, Released, Unannounced, Unclaimed
from app.jobs.connection import store_errors
from app.jobs.moves import Moves
from app.jobs.publishing import Publisher
from app.jobs.record import JSON_TYPE, TERMINAL, Job, JobState
from app.jobs.submission import NewJob, Submitted
from app.jobs.work import WORK_VERSION, needed_version

if TYPE_CHECKING:
    from app.jobs.blobs import Blobs

__all__ = ["LEASE_S", "MAX_CHARGES", "SCHEMA_VERSION", "JobStore"]

SCHEMA_VERSION = 1
MAX_CHARGES = 3
LEASE_S = 30.0
_LINGER_S = 10.0
_IDEMPOTENCY_S = 24 * 3600
_KEEP_TOKENS_S = 300
_FORGET_AT_ONCE = 500
_LATE = DeadlineExceeded().as_fact().model_dump_json()
_INLINE_OUTPUT_BYTES = 64 * 1024


class JobStore(Publisher):
    """Moves of jobs. The state machine itself is in ``moves.lua`` and what follows it; chains are in :mod:`app.jobs.chains`."""

    def __init__(self, client: redis.Redis, spool: Blobs) -> None:
        super().__init__(client, spool)
        self.moves = Moves(client)

    def check_schema(self) -> None:
        """Make an empty Redis ours, or check that the records there can be read.

        Raises:
            NewerSchema: They are of a later version of this software.
        """
        with store_errors():
            self.client.set(keys.SCHEMA, SCHEMA_VERSION, nx=True)
            found = int(cast("str", self.client.get(keys.SCHEMA)))
        if found > SCHEMA_VERSION:
            raise NewerSchema(found, SCHEMA_VERSION)

    def submit(self, new: NewJob, *, max_queued: int, waiter: str | None = None) -> Submitted:
        """Record *new* as queued. It still has to be announced.

        Raises:
            QueueFull: *max_queued* jobs wait already.
            IdempotencyConflict: The key was used with another body.
        """
        idem, needs = new.flight, needed_version(new.kind, new.request)
        answer = self.moves(
            "submit",
            {
                **new.model_dump(include={"id", "kind", "model", "lane", "retry_of", "traceparent", "owner", "home", "webhook"}),
                "queue": keys.queue_of(new.kind, new.model, new.lane, new.home),
                "needs": needs if needs > 1 else None,
                "waited": "1" if new.waited else "0",
                "stored": "1" if new.stored else None,
                # Fixed here and not by the worker: a second attempt must draw the same tokens.
                "seed": str(secrets.randbits(62)),
                "max_queued": max_queued,
                "waiter": waiter,
                "blobs": json.dumps(new.blobs) if new.blobs else None,
                "lease": LEASE_S,
                "idem": keys.idempotency(idem.scope, idem.key) if idem else None,
                "digest": idem.digest if idem else None,
                "idem_ttl": _IDEMPOTENCY_S,
                "deadline": new.deadline.timestamp() if new.deadline else None,
                "lasts_s": new.lasts_s,
                "linger": _LINGER_S,
            },
            json.dumps(new.request, ensure_ascii=False, separators=(",", ":")),
        )
        match answer[0]:
            case "conflict":
                raise IdempotencyConflict
            case "full":
                msg = f"{max_queued} jobs are queued already; try again later."
                raise QueueFull(msg, retry_after_s=30)
            case outcome:
                return Submitted(job_id=answer[1], created=outcome == "created")

    def retry(self, job_id: str, *, max_queued: int) -> Job:
        """Record a new job with the request, model, lane, owner and webhook of one that has ended. It still has to be announced.

        It is a submitted one, whoever waited on the old one, and draws anew where the request fixes no seed.

        Raises:
            JobNotFound: There is no such job.
            IllegalTransition: It has not ended.
            QueueFull: *max_queued* jobs wait already.
        """
        names = ("state", "kind", "model", "lane", "lasts_s", "request", "blobs", "owner", "home", "webhook")
        with store_errors():
            facts = dict(zip(names, cast("list[str | None]", self.client.hmget(keys.job(job_id), names)), strict=True))
        state = facts.pop("state")
        if state is None:
            raise JobNotFound(job_id)
        if state not in TERMINAL:
            raise IllegalTransition(job_id, state, "retried")
        said = {"request": json.loads(facts["request"] or "{}"), "blobs": json.loads(facts["blobs"] or "[]")}
        new = NewJob.model_validate({**facts, **said, "waited": False, "retry_of": job_id})
        try:
            for blob in new.blobs:
                self.spool.hold(blob, holder=new.id)
        except FileNotFoundError:  # forgotten at this moment
            raise JobNotFound(job_id) from None
        return self.get(self.submit(new, max_queued=max_queued).job_id)

    def announced(self, job_id: str, announce: int, message: str) -> None:
        """Note that announcement number *announce* is in the broker as *message*."""
        self.moves("announced", {"id": job_id, "announce": announce, "message": message})

    def to_announce(self, job_id: str) -> Unannounced | None:
        """Return what a message about this job must say. None where none is wanted: then it is no longer among those to announce."""
        answer = self.moves("to_announce", {"id": job_id})
        return Unannounced(queue=answer[1], announce=int(answer[2])) if answer[0] == "wanted" else None

    def claim(
        self, job_id: str, announce: int, *, worker: str, token: str, leaves: Mapping[str, str] | None = None, speaks: int = WORK_VERSION
    ) -> Claimed | Unclaimed:
        """Take a queued job for *worker*; *token* fences every later write about it.

        A job that this worker must leave to others stays where it is in its queue and has to be announced again, by the caller.

        Args:
            job_id: Which.
            announce: The number that its message has.
            worker: Whose it is to be.
            token: Of this claim.
            leaves: Models that this worker cannot run and others can: for lack of ``files``, or of ``room``.
            speaks: The version of work that it knows.
        """
        facts = {"id": job_id, "announce": announce, "worker": worker, "token": token, "late": _LATE, "speaks": speaks}
        answer = self.moves("claim", facts | {"leaves": dict(leaves) if leaves else None, "chains": keys.CHAINS})
        if answer[0] in {"too_new", "elsewhere"}:
            return Unclaimed(reason=answer[0], queue=answer[1], needs=int(answer[2]))
        if answer[0] != "claimed":
            return Unclaimed(reason=" ".join(str(part) for part in answer))
        flat = answer[1]
        record = dict(zip(flat[::2], flat[1::2], strict=True))
        return Claimed.of(record, token)

    def commit(
        self,
        job_id: str,
        token: str,
        state: JobState,
        *,
        output: bytes | None = None,
        media_type: str = JSON_TYPE,
        usage: Mapping[str, Any] | None = None,
        error: Failure | None = None,
    ) -> bool:
        """End a running job, exactly once.

        Returns:
            Whether this claim's result is the one that stands.
        """
        inline = output is not None and media_type == JSON_TYPE and len(output) <= _INLINE_OUTPUT_BYTES
        blob = self.spool.put(output, holder=job_id) if output is not None and not inline else None
        answer = self.moves(
            "commit",
            {
                "id": job_id,
                "token": token,
                "state": state,
                "usage": json.dumps(usage) if usage else None,
                "error": error.model_dump_json() if error else None,
                "blob": blob,
                "media_type": None if media_type == JSON_TYPE else media_type,
                "keep_tok": _KEEP_TOKENS_S,
            },
            output.decode() if output is not None and inline else "",
        )
        # A blob that was not needed stays until its job is forgotten: the claim that stands may have made the same one.
        return bool(answer[0] == "committed")

    def refuse(self, job_id: str, error: Failure) -> bool:
        """Fail a queued job that can never run; return whether it was queued still."""
        return bool(self.moves("refuse", {"id": job_id, "error": error.model_dump_json()})[0] == "refused")

    def release(self, job_id: str, token: str, *, died_in: int | None = None) -> Released:
        """Give a running job back to its queue: a drain, or the rescue of a dead worker's job.

        Args:
            job_id: The job.
            token: Of the claim that is given up.
            died_in: The slice of the attempt in which its worker died, where it was being stepped: perhaps a charge.
                Charged jobs become suspects and wait in the quarantine queue; with the last charge a job fails.
        """
        answer = self.moves(
            "release",
            {
                "id": job_id,
                "token": token,
                "died_in": died_in,
                "max_charges": MAX_CHARGES,
                "quarantine": keys.QUARANTINE,
                "error": WorkerCrashed().as_fact().model_dump_json(),
            },
        )
        return Released(id=job_id, outcome=answer[0], queue=answer[1] if answer[0] == "requeued" else None)

    def reannounce(self, job_id: str, message: str) -> bool:
        """Put a queued job whose *message* was lost back among those to announce."""
        return bool(self.moves("reannounce", {"id": job_id, "message": message})[0] == "ok")

    def cancel(self, job_id: str) -> Job:
        """Cancel a job at once, whatever it does; one that has ended stays as it is.

        Raises:
            JobNotFound: There is no such job.
        """
        if self.moves("cancel", {"id": job_id})[0] == "gone":
            raise JobNotFound(job_id)
        return self.get(job_id)

    def attach(self, job_id: str, waiter: str) -> None:
        """Count *waiter* among those who wait on the job, for :data:`LEASE_S` seconds."""
        if self.moves("attach", {"id": job_id, "waiter": waiter, "lease": LEASE_S})[0] == "gone":
            raise JobNotFound(job_id)

    def renew(self, leases: Sequence[tuple[str, str]]) -> None:
        """Extend leases, given as job and waiter; some hundreds at a time, because Redis does nothing else meanwhile."""
        self.moves("renew", {"leases": list(leases), "lease": LEASE_S})

    def detach(self, job_id: str, waiter: str) -> None:
        """*waiter* hung up. The last one's leaving cancels a job that nobody submitted for later."""
        self.moves("detach", {"id": job_id, "waiter": waiter, "linger": _LINGER_S})

    def keep(self, job_id: str, waiter: str) -> None:
        """*waiter* leaves with a receipt: the job goes on as a submitted one."""
        if self.moves("keep", {"id": job_id, "waiter": waiter})[0] == "gone":
            raise JobNotFound(job_id)

    def expire_deadlines(self) -> list[str]:
        """Cancel jobs that have not ended in time; return them."""
        return cast("list[str]", self.moves("expire_deadlines", {"late": _LATE}))

    def expire_lingering(self) -> list[str]:
        """Cancel jobs that nobody came back for."""
        return cast("list[str]", self.moves("expire_lingering", {}))

    def forget(self, job_id: str) -> None:
        """Remove a finished job, its stream and its indexes, and its children with it. A child stays as long as its parent."""
        more = True
        while more:
            outcome, *held = self.moves("forget", {"id": job_id, "at_most": _FORGET_AT_ONCE})
            for holder, blob in zip(held[::2], held[1::2], strict=True):  # what else was held is found by the sweep
                self.spool.drop(holder, blob or None)
            more = outcome == "more"
