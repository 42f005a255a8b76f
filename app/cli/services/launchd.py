"""Services as agents of launchd, in the domain of the user's graphical session: ``gui/UID/com.mlx-...``.

A description is a template of ``launchd/``, read and written by plistlib, so
that no value has to be quoted.
"""

from __future__ import annotations

import math
import os
import plistlib
import re
import string
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.services.calls import Answer, launchctl
from app.cli.services.system import RUNNING, STOPPED
from app.cli.terminal import CommandError

if TYPE_CHECKING:
    from app.cli.services.table import Service

__all__ = ["Launchd"]

_TEMPLATES = Path(__file__).with_name("launchd")
_POLL_S = 0.1
# A label that has just gone is not free at once: bootstrap then fails with one of these.
_NOT_YET = {5, 37}
_SETTLE_S = 20.0
_STATE = re.compile(r"^\tstate = (.+)$", re.MULTILINE)
_LAST_EXIT = re.compile(r"^\tlast exit code = (.+)$", re.MULTILINE)
_NO_SESSION = (
    "launchd runs services in the session of a user who is logged in at the screen; log in there (or share the screen), and try again."
)


class Launchd:
    """launchd, for this user."""

    name = "launchd"

    def __init__(self) -> None:
        self._domain = f"gui/{os.getuid()}"

    def file_of(self, service: Service) -> Path:
        """Return where a service is described."""
        return Path.home() / "Library" / "LaunchAgents" / f"{service.label}.plist"

    def render(self, service: Service, environment: Mapping[str, str], run_dir: Path, stop_s: float) -> bytes:
        """Return the description of a service."""
        template = plistlib.loads((_TEMPLATES / f"{service.label}.plist").read_bytes())
        filled = _fill(template, {"python": sys.executable, "stderr": str(run_dir / f"{service.name}.stderr")})
        filled["EnvironmentVariables"] |= environment
        filled["ExitTimeOut"] = math.ceil(stop_s)
        return plistlib.dumps(filled)

    def read_environment(self, description: bytes) -> Mapping[str, str]:
        """Return the environment in a description; nothing of one that is not ours."""
        try:
            found = plistlib.loads(description)
        except (plistlib.InvalidFileException, ValueError):
            return {}
        environment = found.get("EnvironmentVariables", {}) if isinstance(found, dict) else {}
        return {str(name): str(value) for name, value in environment.items()}

    def start(self, services: Sequence[Service]) -> None:
        """Start services as they are described now, and at each login."""
        for service in services:
            launchctl("enable", self._target(service)).checked()  # somebody may have disabled it, which outlives its file
            if self._is_loaded(service):
                launchctl("kickstart", self._target(service)).checked()
            else:
                self._bootstrap(service)

    def stop(self, services: Sequence[Service], limit_s: float) -> None:
        """Have services end, in reverse order, and wait for it."""
        for service in reversed(services):
            self._stop(service, limit_s)

    def forget(self, services: Sequence[Service]) -> None:
        """Remove services that do not run."""
        for service in services:
            self.file_of(service).unlink(missing_ok=True)

    def states(self, services: Sequence[Service]) -> Mapping[str, str]:
        """Return how each service is."""
        return {service.name: self._state(service) for service in services}

    def _target(self, service: Service) -> str:
        return f"{self._domain}/{service.label}"

    def _print(self, service: Service) -> Answer:
        return launchctl("print", self._target(service))

    def _is_loaded(self, service: Service) -> bool:
        return self._print(service).status == 0

    def _state(self, service: Service) -> str:
        answer = self._print(service)
        if answer.status:
            return STOPPED
        found, last = _STATE.search(answer.said), _LAST_EXIT.search(answer.said)
        state = found[1] if found else "loaded"
        return state if state == RUNNING or last is None else f"{state}, last exit code {last[1]}"

    def _bootstrap(self, service: Service) -> None:
        deadline = time.monotonic() + _SETTLE_S
        answer = launchctl("bootstrap", self._domain, str(self.file_of(service)))
        while answer.status in _NOT_YET and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            if self._is_loaded(service):
                return
            answer = launchctl("bootstrap", self._domain, str(self.file_of(service)))
        if answer.status and launchctl("print", self._domain).status:
            raise CommandError(_NO_SESSION)
        answer.checked()

    def _stop(self, service: Service, limit_s: float) -> None:
        if not self._is_loaded(service):
            return
        launchctl("bootout", self._target(service))  # says "in progress" of one that takes its time; what counts is whether it goes
        deadline = time.monotonic() + limit_s
        while self._is_loaded(service):
            if time.monotonic() >= deadline:
                msg = f"{service.label} has not stopped after {limit_s:.0f} s. `launchctl print {self._target(service)}` tells more."
                raise CommandError(msg)
            time.sleep(_POLL_S)


def _fill(template: Any, values: Mapping[str, str]) -> Any:  # noqa: ANN401 - whatever a plist may hold
    """Return *template* with the placeholders in its strings filled in."""
    if isinstance(template, str):
        return string.Template(template).substitute(values)
    if isinstance(template, dict):
        return {name: _fill(value, values) for name, value in template.items()}
    return [_fill(value, values) for value in template] if isinstance(template, list) else template
