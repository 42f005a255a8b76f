"""The only place that calls ``launchctl`` and ``systemctl``."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from app.cli.terminal import CommandError

__all__ = ["Answer", "launchctl", "systemctl"]

_PATIENCE_S = 300.0  # systemctl returns when the last service has ended


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call came to."""

    command: str
    status: int
    said: str  # on stdout, or, where it failed, what it complained of

    def checked(self) -> Answer:
        """Return itself.

        Raises:
            CommandError: The call failed.
        """
        if self.status:
            msg = f"`{self.command}` failed ({self.status}): {self.said or 'without a word'}"
            raise CommandError(msg)
        return self


def launchctl(*words: str) -> Answer:
    """Ask launchd."""
    return _call("launchctl", *words)


def systemctl(*words: str) -> Answer:
    """Ask the systemd of this user."""
    return _call("systemctl", "--user", "--no-pager", *words)


def _call(*command: str) -> Answer:
    text = " ".join(command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        return Answer(text, 127, str(error))
    except subprocess.TimeoutExpired:
        return Answer(text, 124, f"no answer in {_PATIENCE_S:.0f} s")
    return Answer(text, done.returncode, (done.stderr or done.stdout).strip() if done.returncode else done.stdout)
