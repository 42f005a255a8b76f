"""What the daemon remembers from one life to the next: a small SQLite file in the home.

It saves work, and nothing depends on it. When it is lost, results on disk and
the jobs' idempotency keys say what is done; when it is damaged, it is put
aside and begun anew. A kill at any moment leaves it as it was before or after
a change.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from app.log import get_logger
from daemon.naming import shown
from daemon.outcome import Transcribed
from daemon.signature import Signature, signature_of

__all__ = ["Half", "Known", "Ledger", "LedgerUnavailable"]

log = get_logger("daemon")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS recordings (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT, identity TEXT, stem TEXT,
                                       target BLOB, finished INTEGER);
CREATE TABLE IF NOT EXISTS halves (path BLOB PRIMARY KEY, stem BLOB, identity TEXT);
CREATE TABLE IF NOT EXISTS replaced (path BLOB, sha256 TEXT, stem BLOB, identity TEXT);
CREATE INDEX IF NOT EXISTS by_content ON recordings (sha256);
CREATE TABLE IF NOT EXISTS jobs (identity TEXT PRIMARY KEY, job TEXT, request TEXT);
CREATE TABLE IF NOT EXISTS outputs (identity TEXT PRIMARY KEY, job TEXT, source BLOB, output BLOB, at REAL);
CREATE TABLE IF NOT EXISTS written (path BLOB, sha256 TEXT, at REAL, PRIMARY KEY (path, sha256));
"""
_MOST_OUTPUTS = 2000
_MOST_WRITTEN = 20_000


class LedgerUnavailable(OSError):
    """The memory can neither be read nor written now: the disk is full, for one."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a recording that was in a watched folder."""

    path: Path
    signature: Signature
    sha256: str
    identity: str | None = None  # once it was asked for
    stem: str | None = None  # of its results, from before the first was written
    target: Path | None = None  # its place in the archive, from before it was moved there
    finished: bool = False  # all is done and it stays where it is

    @property
    def is_finished(self) -> bool:
        """Whether all is done, and it is where it is to be.

        Raises:
            OSError: Its place in the archive cannot be looked at.
        """
        return self.finished or (self.target is not None and signature_of(self.target) == self.signature)


class Half(NamedTuple):
    """Where what was heard of a recording is written down, without its correction."""

    stem: str
    identity: str


class Ledger:
    """The memory of one daemon. For one thread."""

    def __init__(self, path: Path) -> None:
        self.is_new = not path.exists()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _failing_as_os_errors():
            self._db = self._opened_or_begun(path)

    def _opened_or_begun(self, path: Path) -> sqlite3.Connection:
        try:
            return _opened(path)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise
            log.warning("ledger.put_aside", path=shown(path), reason=str(error))
            for each in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
                with contextlib.suppress(FileNotFoundError):
                    each.replace(each.with_name(f"damaged-{each.name}"))
            self.is_new = True
            return _opened(path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def known(self, path: Path) -> Known | None:
        """Return what is known of the recording at *path*."""
        return next(self._known("WHERE path = ?", os.fsencode(path)), None)

    def of_content(self, sha256: str) -> list[Known]:
        """Return what is known of all recordings with this content."""
        return list(self._known("WHERE sha256 = ?", sha256))

    def everything(self) -> list[Known]:
        """Return all that is known of recordings."""
        return list(self._known(""))

    def keep(self, known: Known) -> None:
        """Remember *known*."""
        stem, target = (os.fsencode(name) if name else None for name in (known.stem, known.target))  # a name need not be UTF-8
        values = (os.fsencode(known.path), *known.signature, known.sha256, known.identity, stem, target, known.finished)
        self._change("INSERT OR REPLACE INTO recordings VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values)

    def forget(self, path: Path) -> None:
        """Forget the recording at *path*."""
        self.forget_half(path)
        self._change("DELETE FROM recordings WHERE path = ?", os.fsencode(path))

    def keep_replaced(self, known: Known) -> None:
        """Remember where a recording that is gone, but not archived, has results: it may be here under a new name."""
        if known.stem is not None:
            values = (os.fsencode(known.path), known.sha256, os.fsencode(known.stem), known.identity)
            self._change("INSERT INTO replaced VALUES (?, ?, ?, ?)", *values)

    def replaced_of(self, sha256: str) -> list[tuple[Path, str, str]]:
        """Return path, stem and identity of those with this content."""
        with _failing_as_os_errors():
            rows = self._db.execute("SELECT path, stem, identity FROM replaced WHERE sha256 = ?", (sha256,)).fetchall()
        return [(Path(os.fsdecode(path)), os.fsdecode(stem), str(identity)) for path, stem, identity in rows]

    def forget_replaced(self, path: Path | None = None, sha256: str = "") -> None:
        """Forget the one with this content that lay at *path*, or all: what every recording holds is known, and none is one of these."""
        if path is None:
            self._change("DELETE FROM replaced")
        else:
            self._change("DELETE FROM replaced WHERE path = ? AND sha256 = ?", os.fsencode(path), sha256)

    def half_of(self, path: Path) -> Half | None:
        """Return what was heard of the recording at *path* and is written down, while its correction is not."""
        row = self._one("SELECT stem, identity FROM halves WHERE path = ?", os.fsencode(path))
        return Half(os.fsdecode(row[0]), str(row[1])) if row else None

    def keep_half(self, path: Path, half: Half) -> None:
        """Remember what is about to be written of a recording whose correction is under way, or failed."""
        # Not REPLACE, which makes a new row: the first of an identity is to stay the first.
        self._change(
            "INSERT INTO halves VALUES (?, ?, ?) ON CONFLICT (path) DO UPDATE SET stem = excluded.stem, identity = excluded.identity",
            *(os.fsencode(path), os.fsencode(half.stem), half.identity),
        )

    def forget_half(self, path: Path) -> None:
        """Forget the half of the recording at *path*: it has a whole pair now, or none."""
        self._change("DELETE FROM halves WHERE path = ?", os.fsencode(path))

    def job_of(self, identity: str) -> tuple[str, Mapping[str, Any]] | None:
        """Return the job that was submitted for *identity* and whose end has not been seen, and what was asked of it."""
        row = self._one("SELECT job, request FROM jobs WHERE identity = ?", identity)
        return (str(row[0]), json.loads(row[1])) if row else None

    def keep_job(self, identity: str, job_id: str, request: Mapping[str, Any]) -> None:
        """Remember a job."""
        self._change("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?)", identity, job_id, json.dumps(request))

    def forget_job(self, identity: str) -> None:
        """Forget the job of *identity*."""
        self._change("DELETE FROM jobs WHERE identity = ?", identity)

    def transcribed(self, identity: str) -> Transcribed | None:
        """Return what came of *identity*, where that is remembered."""
        row = self._one("SELECT job, output FROM outputs WHERE identity = ?", identity)
        return Transcribed(row[0], json.loads(zlib.decompress(row[1]))) if row else None

    def keep_transcribed(self, identity: str, outcome: Transcribed) -> None:
        """Remember what came of *identity*, for copies; the oldest leave."""
        packed = zlib.compress(json.dumps(outcome.output).encode())
        self._change("INSERT OR IGNORE INTO outputs VALUES (?, ?, NULL, ?, ?)", identity, outcome.job_id, packed, time.time())
        self._change(
            "DELETE FROM outputs WHERE identity IN (SELECT identity FROM outputs ORDER BY at DESC LIMIT -1 OFFSET ?)", _MOST_OUTPUTS
        )

    def source_of(self, identity: str) -> Path | None:
        """Return which recording got the first results of *identity*, or has begun to get them."""
        row = self._one("SELECT source FROM outputs WHERE identity = ? AND source IS NOT NULL", identity)
        row = row or self._one("SELECT path FROM halves WHERE identity = ? ORDER BY rowid", identity)
        return Path(os.fsdecode(row[0])) if row else None

    def keep_source(self, identity: str, source: Path) -> None:
        """Remember which recording got the first results of *identity*; the first one stays."""
        self._change("UPDATE outputs SET source = ? WHERE identity = ? AND source IS NULL", os.fsencode(source), identity)

    def wrote(self, path: Path, sha256: str) -> bool:
        """Return whether we ever wrote, or were about to write, this content into *path*."""
        return self._one("SELECT 1 FROM written WHERE path = ? AND sha256 = ?", os.fsencode(path), sha256) is not None

    def ever_wrote(self, path: Path) -> bool:
        """Return whether we ever wrote anything into *path*, as far as that is remembered."""
        return self._one("SELECT 1 FROM written WHERE path = ?", os.fsencode(path)) is not None

    def keep_written(self, path: Path, sha256: str) -> None:
        """Remember what we are about to write into *path*."""
        self._change("INSERT OR REPLACE INTO written VALUES (?, ?, ?)", os.fsencode(path), sha256, time.time())
        self._change("DELETE FROM written WHERE rowid IN (SELECT rowid FROM written ORDER BY at DESC LIMIT -1 OFFSET ?)", _MOST_WRITTEN)

    def _known(self, where: str, *values: object) -> Iterator[Known]:
        with _failing_as_os_errors():
            rows = self._db.execute(f"SELECT * FROM recordings {where}", values).fetchall()  # noqa: S608 - our own words
        for path, size, mtime_ns, sha256, identity, stem, target, finished in rows:
            place = Path(os.fsdecode(target)) if target else None
            name = os.fsdecode(stem) if stem else None  # text where it was written before names were kept as bytes
            yield Known(Path(os.fsdecode(path)), Signature(size, mtime_ns), sha256, identity, name, place, bool(finished))

    def _one(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        with _failing_as_os_errors():
            row: tuple[Any, ...] | None = self._db.execute(statement, values).fetchone()
            return row

    def _change(self, statement: str, *values: object) -> None:
        with _failing_as_os_errors(), self._db:
            self._db.execute(statement, values)


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=5)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last change, which is then found out anew
        if db.execute("PRAGMA quick_check").fetchone() != ("ok",):
            _refuse_damaged()
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _refuse_damaged() -> None:
    error = sqlite3.DatabaseError("damaged")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    raise error


@contextlib.contextmanager
def _failing_as_os_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise  # the next start of the daemon puts it aside
        message = f"the daemon's memory cannot be used: {error}"
        raise LedgerUnavailable(message) from error
