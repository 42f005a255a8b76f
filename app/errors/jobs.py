"""What can go wrong with a job, and with the store that keeps it."""

from __future__ import annotations

from app.errors.base import Failure, InferenceError

__all__ = [
    "BatchNotFound",
    "BlobNotHere",
    "DeadlineExceeded",
    "DrainTimeout",
    "EngineFailed",
    "FileNotHere",
    "IdempotencyConflict",
    "IllegalTransition",
    "JobCanceled",
    "JobFailed",
    "JobNotFinished",
    "JobNotFound",
    "NewerSchema",
    "QueueFull",
    "ResponseNotFound",
    "SpoolUnavailable",
    "StoreUnavailable",
    "WishFailed",
    "WorkerCrashed",
    "WrongContent",
]


class EngineFailed(InferenceError):
    """An engine raised while it worked on the job."""

    code = "engine_error"


class WorkerCrashed(InferenceError):
    """The job took its worker down as often as a job may."""

    code = "worker_crashed"

    def __init__(self) -> None:
        super().__init__("The worker died again and again while it ran this job, so it is not tried again.")


class DrainTimeout(InferenceError):
    """The worker shut down before the job ended; the job goes back to its queue."""

    code = "worker_draining"


class DeadlineExceeded(InferenceError):
    """The job had not ended by its deadline, so it was cancelled."""

    code = "deadline_exceeded"

    def __init__(self) -> None:
        super().__init__("The job had not ended by its deadline, so it was cancelled; allow more time (Cancel-After, deadline).")


class FileNotHere(InferenceError):
    """No uploaded file has this id."""

    code = "file_not_found"

    def __init__(self, file_id: str) -> None:
        super().__init__(f"There is no file {file_id[:80]!r}; it may have been deleted.")


class BlobNotHere(InferenceError):
    """What a job was to read, or to go on from, is not in the spool any more."""

    code = "blob_not_found"

    def __init__(self, blob: str) -> None:
        super().__init__(f"The content {blob[:16]}… is not in the spool of the API; it may have been removed with its job.")


class WrongContent(InferenceError):
    """Content came under a name that is not its own: it was damaged on its way."""

    code = "wrong_content"

    def __init__(self, blob: str) -> None:
        super().__init__(f"What came is not the content {blob[:16]}…: it was damaged on its way; send it again.")


class BatchNotFound(InferenceError):
    """No batch has this id, or its retention has passed."""

    code = "batch_not_found"

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"There is no batch {batch_id[:80]!r}; it may have been removed after its retention time.")


class JobNotFound(InferenceError):
    """No job has this id, or its retention has passed."""

    code = "job_not_found"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id!r}; it may have been removed after its retention time.")


class ResponseNotFound(InferenceError):
    """No stored response has this id, or its retention has passed."""

    code = "response_not_found"

    def __init__(self, response_id: str, *, param: str | None = None) -> None:
        told = "it was not stored, was deleted, or has been removed after its retention time"
        super().__init__(f"There is no response {response_id[:80]!r}: {told}.", param=param)


class JobNotFinished(InferenceError):
    """The job has no output yet."""

    code = "job_not_finished"

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"The job {job_id!r} is {state} and has no output.")


class IllegalTransition(InferenceError):
    """The job is in a state from which this is not possible."""

    code = "illegal_transition"

    def __init__(self, job_id: str, state: str, wanted: str, *, what: str = "job") -> None:
        super().__init__(f"The {what} {job_id!r} is {state}, so it cannot be {wanted}; wait for its end or cancel it.")


class JobFailed(InferenceError):
    """The job ended ``failed``. What is told is the job's own failure."""

    code = "job_failed"

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, param=failure.param)
        self.failure = failure

    def as_fact(self) -> Failure:
        """Return the failure as the record has it, its code included."""
        return self.failure


class WishFailed(JobFailed):
    """A model does not come into memory as a user asked. What is told is the worker's own failure."""


class JobCanceled(InferenceError):
    """The job was cancelled before it had an output."""

    code = "job_canceled"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"The job {job_id!r} was cancelled.")


class IdempotencyConflict(InferenceError):
    """The Idempotency-Key was used before with another body."""

    code = "idempotency_conflict"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used with another request body; use a new key.", param="Idempotency-Key")


class QueueFull(InferenceError):
    """Accepting the job would break the promise to keep what is accepted."""

    code = "queue_full"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreUnavailable(InferenceError):
    """Redis does not answer, so nothing can be accepted or read."""

    code = "store_unavailable"

    def __init__(self) -> None:
        super().__init__("The job store (Redis) does not answer. Nothing was accepted; try again in a moment.")


class SpoolUnavailable(StoreUnavailable):
    """The API of the machine that has the jobs does not answer, or refuses, so that media neither come nor go.

    Attributes:
        reason: What is the matter.
        lasting: Whether somebody must change something before another try can succeed.
        refuses: Whether that API let this worker not in: its key, or the name that it asks by.
    """

    def __init__(self, reason: str, *, lasting: bool = False, refuses: bool = False) -> None:
        InferenceError.__init__(self, f"The API of the machine that has the jobs cannot be used: {reason}")
        self.reason = reason
        self.lasting = lasting
        self.refuses = refuses


class NewerSchema(InferenceError):
    """Redis holds records of a newer version of this software."""

    code = "newer_schema"

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"Redis holds records of schema {found}; this version knows {known}. Upgrade mlx-local-inference.")
