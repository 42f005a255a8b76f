"""Who asks: which key a request carries, and what it allows.

Keys are looked up in the home at each request, so that one which was made or
revoked counts at once, on both ports, without a restart. A file of keys that
is damaged has none, but keys stay required.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from fastapi import Request
from starlette.datastructures import Headers

from app.exposure import is_loopback
from app.internal_key import internal_key_path
from app.log import get_logger
from app.named_keys import ANYONE, INTERNAL, SETTING, Caller, NamedKey, digest_of, keys_path, parse_keys
from app.settings import Settings
from app.watched_file import WatchedFile

__all__ = ["Callers", "caller_of"]

log = get_logger("api")


class Callers:
    """Those who may ask, for one process."""

    def __init__(self, settings: Settings) -> None:
        self._exposed = not is_loopback(settings.host)
        self._setting = digest_of(settings.api_key.get_secret_value()) if settings.api_key else None
        self._internal = WatchedFile(internal_key_path(settings.home), _digest)
        self._named = WatchedFile(keys_path(settings.home), _named)

    @property
    def need_keys(self) -> bool:
        """Whether who has no key is refused: off loopback always, on loopback once there is one."""
        return self._exposed or self._setting is not None or self._named.read() != ()

    def find(self, headers: Headers) -> Caller | None:
        """Return who sent *headers*; None where a key is required and no right one among them."""
        found = next((caller for key in _given(headers) if (caller := self.of_key(key)) is not None), None)
        return found if found is not None or self.need_keys else ANYONE

    def of_key(self, key: str) -> Caller | None:
        """Return whose *key* is; None: nobody's. All keys are compared, so that the time tells nothing."""
        digest = digest_of(key)
        found: Caller | None = None
        for known, caller in self._known():
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    def _known(self) -> Iterator[tuple[str, Caller]]:
        for digest, caller in ((self._setting, SETTING), (self._internal.read(), INTERNAL)):
            if digest is not None:
                yield digest, caller
        for key in self._named.read() or ():
            yield key.sha256, Caller(key.name, key.scope)


def caller_of(request: Request) -> Caller:
    """Return who sent *request*, as the application's access found out."""
    caller: Caller = getattr(request.state, "caller", ANYONE)
    return caller


def _given(headers: Headers) -> Iterator[str]:
    """Yield the keys where OpenAI's clients have theirs, and where Anthropic's have it."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    for key in (bearer if scheme.lower() == "bearer" else "", headers.get("x-api-key", "")):
        if key.strip():
            yield key.strip()


def _digest(text: str | None) -> str | None:
    return digest_of(text.strip()) if text and text.strip() else None


def _named(text: str | None) -> tuple[NamedKey, ...] | None:
    """Return the keys of the file; None where it is damaged."""
    if text is None:
        return ()
    try:
        return parse_keys(text)
    except ValueError:
        log.error("keys.damaged")  # noqa: TRY400 - what is wrong with it may show a part of it
        return None
