"""Uploaded files: a record in Redis, the content in the spool. They stay until they are deleted."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from pydantic import BaseModel

from app.errors import FileNotHere
from app.jobs import keys
from app.jobs.connection import store_errors
from app.named_keys import ANYONE, Caller

if TYPE_CHECKING:
    from app.jobs.store import JobStore

__all__ = ["FileStore", "Purpose", "UploadedFile"]

Purpose = Literal["assistants", "batch", "batch_output", "evals", "fine-tune", "user_data", "vision"]


class UploadedFile(BaseModel, frozen=True):
    """A file, in OpenAI's shape."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: Purpose
    status: Literal["processed"] = "processed"


class FileStore:
    """Files of one job store as one caller sees them: who owns files of its own has no others. Synchronous and thread-safe."""

    def __init__(self, store: JobStore, caller: Caller = ANYONE) -> None:
        self._caller = caller
        self._client = store.client
        self._spool = store.spool
        self._now = store.now

    def create(self, filename: str, purpose: Purpose, pieces: Iterable[bytes], *, file_id: str | None = None) -> UploadedFile:
        """Keep a file.

        Args:
            filename: As its owner calls it; never a path of this machine.
            purpose: One of OpenAI's.
            pieces: The content, in order.
            file_id: Of a file that may be made again, with the same content: there is one of it then. None: a fresh one.
        """
        file_id = file_id or f"file-{secrets.token_hex(12)}"
        with store_errors():
            now = self._now()
            blob = self._spool.put_pieces(pieces, holder=file_id)
            size = self._spool.path(blob).stat().st_size
            file = UploadedFile(id=file_id, bytes=size, created_at=int(now), filename=filename, purpose=purpose)
            pipe = self._client.pipeline(transaction=True)
            pipe.hset(keys.file(file_id), mapping={"record": file.model_dump_json(), "blob": blob})
            if self._caller.name:
                pipe.hset(keys.file(file_id), "owner", self._caller.name)
            pipe.zadd(keys.FILES, {file_id: now})
            pipe.execute()
        return file

    def get(self, file_id: str) -> UploadedFile:
        """Return a file's record.

        Raises:
            FileNotHere: There is no such file.
        """
        return UploadedFile.model_validate_json(self._facts(file_id)[0])

    def content(self, file_id: str) -> tuple[UploadedFile, Path]:
        """Return a file's record and where its content is; :class:`FileNotHere` when either is gone."""
        record, blob = self._facts(file_id)
        path = self._spool.path(blob)
        if not path.exists():
            raise FileNotHere(file_id)
        return UploadedFile.model_validate_json(record), path

    def _facts(self, file_id: str) -> tuple[str, str]:
        """Return the record of a file and its blob."""
        with store_errors():
            record, blob, owner = cast("list[str | None]", self._client.hmget(keys.file(file_id), ["record", "blob", "owner"]))
        if record is None or not self._sees(owner):
            raise FileNotHere(file_id)
        return record, str(blob)

    def _sees(self, owner: str | None) -> bool:
        return self._caller.owner in {None, owner}

    def hold(self, file_id: str, *, holder: str) -> str:
        """Keep a file's content for a job as well, which may outlive the file; return its name in the spool.

        Raises:
            FileNotHere: There is no such file.
        """
        _, blob = self._facts(file_id)
        try:
            self._spool.hold(blob, holder=holder)
        except FileNotFoundError:
            raise FileNotHere(file_id) from None
        return blob

    def page(self, *, limit: int, after: str | None, newest_first: bool, purpose: str | None) -> tuple[list[UploadedFile], bool]:
        """Return files and whether more follow.

        Args:
            limit: At most so many.
            after: Begin behind this one.
            newest_first: The order.
            purpose: Only these.

        Raises:
            FileNotHere: *after* is no file.
        """
        with store_errors():
            ids = cast("list[str]", self._client.zrange(keys.FILES, 0, -1, desc=newest_first))
            if after is not None and after not in ids:
                raise FileNotHere(after)
            pipe = self._client.pipeline(transaction=False)
            for file_id in ids[ids.index(after) + 1 if after else 0 :]:
                pipe.hmget(keys.file(file_id), ["record", "owner"])
            files = [UploadedFile.model_validate_json(record) for record, owner in pipe.execute() if record and self._sees(owner)]
        wanted = [file for file in files if purpose in {None, file.purpose}]
        return wanted[:limit], len(wanted) > limit

    def delete(self, file_id: str) -> None:
        """Forget a file and its content; :class:`FileNotHere` when there is none."""
        self._facts(file_id)
        if not self.forget(file_id):
            raise FileNotHere(file_id)

    def forget(self, file_id: str) -> bool:
        """Forget a file and its content, whoever's it is; return whether it was there."""
        with store_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.delete(keys.file(file_id))
            pipe.zrem(keys.FILES, file_id)
            deleted, _ = pipe.execute()
        self._spool.drop(file_id)
        return bool(deleted)
