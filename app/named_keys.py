"""API keys with names: made, listed, revoked, and recognised.

``keys.json`` of the home has a hash of each and never a key. Keys are drawn,
32 random bytes each, so one SHA-256 is as good as any slow hash: there is
nothing to guess. Whoever changes the file puts a whole new one in its place
under a lock; processes that run see it at their next look.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from app.errors import InvalidSetting
from app.exposure import is_loopback

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = [
    "ANYONE",
    "INTERNAL",
    "SETTING",
    "Caller",
    "NamedKey",
    "NamedKeys",
    "Scope",
    "check_exposure",
    "digest_of",
    "keys_path",
    "parse_keys",
]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


class Scope(StrEnum):
    """What a key allows."""

    INFERENCE = "inference"  # asking models, and what came of it
    ADMIN = "admin"  # that, and the machine: models in and out, everybody's jobs
    WORKER = "worker"  # what a worker of another machine needs, and nothing else


class Caller(NamedTuple):
    """Who asks."""

    name: str | None  # None: nobody has to say
    scope: Scope

    @property
    def owner(self) -> str | None:
        """Whose jobs and files are all that this caller sees; None: it sees everybody's."""
        return None if self.scope is Scope.ADMIN else self.name


ANYONE = Caller(None, Scope.ADMIN)
"""Where no key is required."""

INTERNAL = Caller("internal", Scope.ADMIN)
"""The daemon and the command line of this home."""

SETTING = Caller("main", Scope.ADMIN)
"""Who has the key of ``MLX_LOCAL_API_KEY``."""

_TAKEN = ("internal", "main", "anyone")  # the callers without a key of their own


class NamedKey(BaseModel, frozen=True):
    """A key, as the file has it."""

    name: str
    scope: Scope
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: datetime


_KEYS = TypeAdapter(tuple[NamedKey, ...])


def keys_path(home: Path) -> Path:
    """Return where the keys of *home* lie."""
    return home / "keys.json"


def digest_of(key: str) -> str:
    """Return the hash by which a key is known."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def parse_keys(text: str) -> tuple[NamedKey, ...]:
    """Return the keys that the file's *text* has.

    Raises:
        ValueError: It is damaged.
    """
    return _KEYS.validate_json(text)


class NamedKeys:
    """The keys of one home, for whoever makes and revokes them."""

    def __init__(self, home: Path) -> None:
        self._path = keys_path(home)

    def all(self) -> tuple[NamedKey, ...]:
        """Return the keys, in the order in which they were made.

        Raises:
            InvalidSetting: The file is damaged or cannot be read.
        """
        try:
            return parse_keys(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return ()
        except ValidationError:
            msg = f"{self._path} is damaged; mend it, or remove it and make new keys with `mlx-local keys create`."
            raise InvalidSetting(msg) from None
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{self._path} cannot be read ({error})."
            raise InvalidSetting(msg) from None

    def create(self, name: str, scope: Scope) -> str:
        """Make a key and return it; nobody can find it out later.

        Raises:
            InvalidSetting: The name cannot be used or is taken; likewise what :meth:`all` raises.
        """
        if not _NAME.fullmatch(name) or name in _TAKEN:
            msg = (
                f"{name!r} cannot be the name of a key: it must be lower-case letters, digits, '.', '_' and '-', at most 64,"
                f" and none of {', '.join(_TAKEN)}."
            )
            raise InvalidSetting(msg)
        key = f"mlx-{secrets.token_urlsafe(32)}"
        with self._locked():
            known = self.all()
            if any(other.name == name for other in known):
                msg = f"There is a key named {name!r} already; revoke it first, or choose another name."
                raise InvalidSetting(msg)
            self._write((*known, NamedKey(name=name, scope=scope, sha256=digest_of(key), created_at=datetime.now(UTC))))
        return key

    def revoke(self, name: str) -> bool:
        """Forget a key; return whether there was one."""
        with self._locked():
            known = self.all()
            kept = tuple(key for key in known if key.name != name)
            if len(kept) < len(known):
                self._write(kept)
        return len(kept) < len(known)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path.with_name(".keys.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, keys: tuple[NamedKey, ...]) -> None:
        descriptor, written = tempfile.mkstemp(dir=self._path.parent, prefix=".keys.json-")  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_KEYS.dump_json(keys, indent=2) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            Path(written).replace(self._path)
        finally:
            Path(written).unlink(missing_ok=True)


def check_exposure(settings: Settings) -> None:
    """Let an API start that others can reach only where they must show a key.

    Raises:
        InvalidSetting: It would listen off loopback, and there is no key.
    """
    if is_loopback(settings.host) or settings.api_key is not None or NamedKeys(settings.home).all():
        return
    msg = (
        f"MLX_LOCAL_HOST: {settings.host} is not loopback, so an API key is required: make one with `mlx-local keys create NAME`,"
        " or set MLX_LOCAL_API_KEY"
    )
    raise InvalidSetting(msg, param="host")
