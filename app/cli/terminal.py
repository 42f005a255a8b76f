"""What every command shares: how to fail in a sentence, how to print, how to read the settings.

A command that cannot go on raises :class:`CommandError` (or lets an
:class:`~app.errors.InferenceError` through); ``main`` prints the sentence on
stderr and exits. Nothing here prints a traceback.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from app.settings import Settings

__all__ = [
    "FAILED",
    "NOT_RUNNING",
    "USAGE",
    "CommandError",
    "about",
    "console",
    "note",
    "print_json",
    "say",
    "say_nothing",
    "settings",
    "show",
    "show_thought",
]

FAILED = 1
USAGE = 2  # a wrong argument or a wrong setting
NOT_RUNNING = 3

_NO_TERMINAL_COLUMNS = 1000
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed
_FEW = 90  # seconds, or minutes, that are told as such


class CommandError(Exception):
    """A command failed in a way that one or two sentences explain."""

    def __init__(self, message: str, exit_code: int = FAILED, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.param = param  # of a request, that the server refused


def settings(**given: Any) -> Settings:  # noqa: ANN401 - values are whatever the fields take
    """Read the settings of this process.

    Args:
        **given: Field values that come before every other source.

    Raises:
        InvalidSetting: One of them cannot be used.
    """
    from app.settings import load_settings

    return load_settings(**given)


def say(line: str = "") -> None:
    """Print *line* at once. A terminal that went away is no reason to stop supervising."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def say_nothing(_line: str = "") -> None:
    """Stand in for :func:`say` where stdout is for a program."""


def note(line: str) -> None:
    """Print *line* for people, on stderr: who reads stdout wants what was asked for alone."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")


def print_json(value: Any) -> None:  # noqa: ANN401 - anything that JSON can hold
    """Print *value* as indented JSON for programs and people; dates become ISO 8601."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def about(seconds: float | None) -> str:
    """Return a rough duration in words; nothing where there is none."""
    if seconds is None:
        return ""
    if seconds < _FEW:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < _FEW * 60 else f"about {round(seconds / 3600)} h"


def show(text: str) -> None:
    """Print what a model wrote, at once. A terminal gets nothing of it that would move its cursor or more: nobody vouches for a model."""
    sys.stdout.write(_CONTROLS.sub("", text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def show_thought(text: str) -> None:
    """Print what a model thinks, dimmed, on stderr: the answer alone is for who reads stdout. Where stderr is no terminal, nothing."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\x1b[2m{_CONTROLS.sub('', text)}\x1b[0m")
        sys.stderr.flush()


def console() -> Console:
    """Return a console for tables; where stdout is no terminal, plain text in lines as long as they are."""
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=_NO_TERMINAL_COLUMNS)
