"""Telling somebody that a recording is done, or failed: on the desktop, by a webhook, by a command.

A thread of its own tells; what goes wrong there costs a line in the log and
nothing else. Nothing is told twice on purpose, and a crash may lose a telling.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx

from app.log import get_logger
from app.machine import desktop_notifier

if TYPE_CHECKING:
    from daemon.folder_settings import Notify

__all__ = ["Notifier"]

log = get_logger("daemon")

_MAY_TAKE_S = 30.0


class Notifier:
    """Tells, one after the other."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "notify")

    def tell(self, notify: Notify, facts: Mapping[str, str | None]) -> None:
        """Tell *facts*: ``event`` (finished or failed), ``recording``, ``message``, and the files that were written.

        The webhook gets them as the JSON body of a POST, the command on its stdin; neither gets any of the text.
        """
        self._thread.submit(_tell, notify, dict(facts))

    def close(self) -> None:
        """Tell no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _tell(notify: Notify, facts: Mapping[str, str | None]) -> None:
    body = json.dumps(facts, ensure_ascii=False).encode()
    desktop = desktop_notifier() if notify.desktop else None
    if desktop is not None:
        _run("desktop", [*desktop, facts.get("message") or "", "mlx-local"], b"")
    if notify.command is not None:
        _run("command", notify.command, body)
    if notify.webhook is not None:
        try:
            headers = {"Content-Type": "application/json"}
            httpx.post(notify.webhook, content=body, headers=headers, timeout=_MAY_TAKE_S).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            log.warning("notification.failed", by="webhook", reason=type(error).__name__)


def _run(by: str, command: list[str], stdin: bytes) -> None:
    try:
        subprocess.run(command, input=stdin, capture_output=True, timeout=_MAY_TAKE_S, check=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.warning("notification.failed", by=by, program=command[0], reason=_reason(error))


def _reason(error: OSError | ValueError | subprocess.SubprocessError) -> str:
    """Say what went wrong without the command line, which may hold a secret, as the message of the error does."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"exit status {error.returncode}"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
