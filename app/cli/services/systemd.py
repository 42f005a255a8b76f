"""Services as units of the user's systemd: ``systemctl --user status mlx-server``."""

from __future__ import annotations

import math
import os
import re
import string
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.services.calls import Answer, systemctl
from app.cli.services.system import RUNNING, STOPPED
from app.cli.terminal import CommandError

if TYPE_CHECKING:
    from app.cli.services.table import Service

__all__ = ["Systemd"]

_TEMPLATES = Path(__file__).with_name("systemd")
_ENVIRONMENT = re.compile(r'^Environment="(?P<name>[A-Za-z0-9_]+)=(?P<value>.*)"$', re.MULTILINE)
_NO_SESSION = (
    "The systemd of this user does not answer: log in as this user (not with su or sudo), or run `sudo loginctl enable-linger $USER`"
    " and set XDG_RUNTIME_DIR=/run/user/$UID."
)


class Systemd:
    """systemd, for this user."""

    name = "systemd"

    def file_of(self, service: Service) -> Path:
        """Return where a service is described."""
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user" / service.unit

    def render(self, service: Service, environment: Mapping[str, str], run_dir: Path, stop_s: float) -> bytes:  # noqa: ARG002 - the journal has what it writes
        """Return the description of a service."""
        template = string.Template((_TEMPLATES / service.unit).read_text("utf-8"))
        lines = "\n".join(f"Environment={_quote(f'{name}={value}')}" for name, value in environment.items())
        # The comment at the top of a template speaks of dollar signs and has none.
        filled = template.substitute(python=_quote(sys.executable), environment=lines, stop_s=math.ceil(stop_s))
        return filled.encode()

    def read_environment(self, description: bytes) -> Mapping[str, str]:
        """Return the environment in a description; nothing of one that is not ours."""
        text = description.decode("utf-8", "replace")
        return {found["name"]: _unquote(found["value"]) for found in _ENVIRONMENT.finditer(text)}

    def start(self, services: Sequence[Service]) -> None:
        """Start services as they are described now, and at each login."""
        if services:
            self._ask("daemon-reload")
            self._ask("enable", "--now", *(service.unit for service in services))

    def stop(self, services: Sequence[Service], limit_s: float) -> None:  # noqa: ARG002 - each unit has its own limit
        """Have services end, in reverse order, and wait for it."""
        if services:
            self._ask("stop", *(service.unit for service in services))

    def forget(self, services: Sequence[Service]) -> None:
        """Remove services that do not run."""
        if services:
            self._ask("disable", *(service.unit for service in services))
            for service in services:
                self.file_of(service).unlink(missing_ok=True)
            self._ask("daemon-reload")

    def states(self, services: Sequence[Service]) -> Mapping[str, str]:
        """Return how each service is."""
        answer = systemctl("show", "--property=Id,ActiveState,SubState,Result", *(service.unit for service in services))
        facts = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in answer.said.split("\n\n")]
        found = {fact["Id"]: _state(fact) for fact in facts if "Id" in fact}
        return {service.name: found.get(service.unit, "unknown: systemd does not answer") for service in services}

    @staticmethod
    def _ask(*words: str) -> Answer:
        answer = systemctl(*words)
        if answer.status and "connect to bus" in answer.said:
            raise CommandError(_NO_SESSION)
        return answer.checked()


def _state(fact: Mapping[str, str]) -> str:
    state = fact.get("ActiveState", "unknown")
    if state == "active":
        return RUNNING
    result = fact.get("Result", "success")
    return STOPPED if state == "inactive" else f"{state}, {fact.get('SubState')}" + (f", {result}" if result != "success" else "")


def _quote(text: str) -> str:
    """Return one word of a unit file: quoted, and with nothing in it that systemd would expand."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text.replace("%%", "%"))
