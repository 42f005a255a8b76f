"""What can go wrong, named for what happened, each carrying its facts.

An error has a stable ``code``, a sentence that tells the caller what to
change, and, where one request parameter is at fault, its name. It crosses
process borders inside a job record (``as_fact`` and ``Failure``), so nothing
here knows HTTP: one table in ``app.api`` turns codes into statuses.
"""

from __future__ import annotations

from app.errors.base import Failure, InferenceError, InvalidRequest, InvalidSetting
from app.errors.documents import UnreadableDocument
from app.errors.jobs import (
    BatchNotFound,
    BlobNotHere,
    DeadlineExceeded,
    DrainTimeout,
    EngineFailed,
    FileNotHere,
    IdempotencyConflict,
    IllegalTransition,
    JobCanceled,
    JobFailed,
    JobNotFinished,
    JobNotFound,
    NewerSchema,
    QueueFull,
    ResponseNotFound,
    SpoolUnavailable,
    StoreUnavailable,
    WishFailed,
    WorkerCrashed,
    WrongContent,
)
from app.errors.models import (
    ContextTooLong,
    DownloadFailed,
    ModelInUse,
    ModelLoadFailed,
    ModelNotDownloaded,
    ModelTooLarge,
    NoModelForRole,
    UnknownModel,
    UnsupportedTask,
)
from app.errors.pictures import (
    PictureNotFetched,
    PictureTooLarge,
    UnreadablePicture,
    UnreadableVideo,
    VideoNotFetched,
    VideoTooLarge,
)

__all__ = [
    "BatchNotFound",
    "BlobNotHere",
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
    "PictureNotFetched",
    "PictureTooLarge",
    "QueueFull",
    "ResponseNotFound",
    "SpoolUnavailable",
    "StoreUnavailable",
    "UnknownModel",
    "UnreadableDocument",
    "UnreadablePicture",
    "UnreadableVideo",
    "UnsupportedTask",
    "VideoNotFetched",
    "VideoTooLarge",
    "WishFailed",
    "WorkerCrashed",
    "WrongContent",
]
