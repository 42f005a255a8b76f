"""What can go wrong, named for what happened, each carrying its facts.

An error has a stable ``code``, a sentence that tells the caller what to
change, and, where one request parameter is at fault, its name. It crosses
process borders inside a job record (``as_fact`` and ``Failure``), so nothing
here knows HTTP: one table in ``app.api`` turns codes into statuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

__all__ = [
    "ContextTooLong",
    "DeadlineExceeded",
    "DownloadFailed",
    "DrainTimeout",
    "EngineFailed",
    "Failure",
    "FileNotHere",
    "IdempotencyConflict",
    "IllegalTransition",
    "InferenceError",
    "InvalidRequest",
    "InvalidSetting",
    "JobCanceled",
    "JobFailed",
    "JobNotFinished",
    "JobNotFound",
    "ModelInUse",
    "ModelLoadFailed",
    "ModelNotDownloaded",
    "ModelTooLarge",
    "NewerSchema",
    "NoModelForRole",
    "QueueFull",
    "StoreUnavailable",
    "UnknownModel",
    "UnsupportedTask",
    "WishFailed",
    "WorkerCrashed",
]


class Failure(BaseModel, frozen=True):
    """An error as a job record keeps it: a code, a sentence, and the parameter at fault."""

    code: str
    message: str
    param: str | None = None


class InferenceError(Exception):
    """Base of every error that a caller may see.

    Attributes:
        code: Stable, machine-readable, snake case.
        message: One or two sentences that say what to change.
        param: The request parameter at fault, if one is.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def as_fact(self) -> Failure:
        """Return this error as a job record keeps it."""
        return Failure(code=self.code, message=self.message, param=self.param)


class InvalidSetting(InferenceError):
    """A setting has a value that cannot be used. Stops the start."""

    code = "invalid_setting"


class InvalidRequest(InferenceError):
    """A request is malformed or asks for what no model could do."""

    code = "invalid_request"


class UnknownModel(InferenceError):
    """No model of the catalog has this name."""

    code = "model_not_found"

    def __init__(self, name: str, nearest: Sequence[str] = ()) -> None:
        hint = f" Did you mean {', '.join(nearest)}?" if nearest else " GET /v1/models and `mlx-local models list` name those it has."
        pull = f" `mlx-local models pull {name}` adds a model of the hub." if "/" in name else ""
        super().__init__(f"The model {name!r} is not in the catalog.{hint}{pull}", param="model")
        self.name = name
        self.nearest = tuple(nearest)


class NoModelForRole(InferenceError):
    """The profile in use gives no model to this role."""

    code = "model_not_found"

    def __init__(self, role: str, candidates: Sequence[str]) -> None:
        pulls = " or ".join(f"`mlx-local models pull {name}`" for name in candidates)
        advice = f"run {pulls} and name that model" if pulls else "name a model of the catalog"
        super().__init__(f"No model has the role {role!r} in this profile; {advice}.", param="model")
        self.role = role


class UnsupportedTask(InferenceError):
    """The model exists but cannot do what the route needs."""

    code = "unsupported_task"

    def __init__(self, model: str, task: str, tasks: Sequence[str]) -> None:
        super().__init__(f"The model {model!r} cannot do {task!r}; it does {', '.join(tasks)}.", param="model")


class ModelNotDownloaded(InferenceError):
    """The catalog knows the model, but its files are not on this machine."""

    code = "model_not_downloaded"

    def __init__(self, model: str) -> None:
        super().__init__(f"The files of {model!r} are not on this machine; run `mlx-local models pull {model}`.", param="model")


class ModelInUse(InferenceError):
    """What was asked for would take a model away from those who use it."""

    code = "model_in_use"


class DownloadFailed(InferenceError):
    """A model's files could not be fetched, or not be made usable."""

    code = "download_failed"


class ModelLoadFailed(InferenceError):
    """The model's files are here but an engine could not be made of them."""

    code = "model_load_failed"


class ModelTooLarge(InferenceError):
    """The model does not fit even when nothing else is resident."""

    code = "model_too_large"

    def __init__(self, model: str, need_bytes: int, budget_bytes: int) -> None:
        super().__init__(
            f"The model {model!r} needs {need_bytes / 1e9:.1f} GB and the budget is {budget_bytes / 1e9:.1f} GB.",
            param="model",
        )
        self.need_bytes = need_bytes
        self.budget_bytes = budget_bytes


class ContextTooLong(InferenceError):
    """Prompt and answer together exceed the model's context window. With *at_least* the prompt was not counted to its end."""

    code = "context_length_exceeded"

    def __init__(
        self, prompt_tokens: int, max_tokens: int | None, context: int, *, param: str = "messages", at_least: bool = False
    ) -> None:
        has = f"at least {prompt_tokens}" if at_least else str(prompt_tokens)
        asked = f" and {max_tokens} are asked for the answer" if max_tokens is not None else ""
        if param == "input":
            what, mend = "input", "Shorten the input, or let truncate_prompt_tokens cut it."
        else:
            what, mend = "prompt", "Shorten the prompt" + (" or lower max_tokens." if max_tokens is not None else ".")
        super().__init__(f"This model's context is {context} tokens; the {what} has {has}{asked}. {mend}", param=param)


class EngineFailed(InferenceError):
    """An engine raised while it worked on the job."""

    code = "engine_error"


class WorkerCrashed(InferenceError):
    """The job took its worker down as often as a job may."""

    code = "worker_crashed"

    def __init__(self, charges: int) -> None:
        super().__init__(f"The worker died {charges} times while it ran this job, so it is not tried again.")


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


class JobNotFound(InferenceError):
    """No job has this id, or its retention has passed."""

    code = "job_not_found"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id!r}; it may have been removed after its retention time.")


class JobNotFinished(InferenceError):
    """The job has no output yet."""

    code = "job_not_finished"

    def __init__(self, job_id: str, state: str) -> None:
        super().__init__(f"The job {job_id!r} is {state} and has no output.")


class IllegalTransition(InferenceError):
    """The job is in a state from which this is not possible."""

    code = "illegal_transition"

    def __init__(self, job_id: str, state: str, wanted: str) -> None:
        super().__init__(f"The job {job_id!r} is {state}, so it cannot be {wanted}; wait for its end or cancel it.")


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


class NewerSchema(InferenceError):
    """Redis holds records of a newer version of this software."""

    code = "newer_schema"

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"Redis holds records of schema {found}; this version knows {known}. Upgrade mlx-local-inference.")
