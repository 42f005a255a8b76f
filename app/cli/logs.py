"""``mlx-local logs``: what the processes wrote, in the order of time, and what they go on to write."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import terminal
from app.cli.terminal import NOT_RUNNING, CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.text import Text

    from app.cli.log_files import Line

__all__ = ["LogName", "logs"]

_POLL_S = 0.25
_COLOURS = {"debug": "dim", "info": "green", "warning": "yellow", "error": "red", "critical": "red"}
_SAID = frozenset({"timestamp", "level", "event", "logger", "exception"})


class LogName(StrEnum):
    """Whose log."""

    SERVER = "server"
    AUDIO = "audio"
    WORKER = "worker"
    DAEMON = "daemon"
    REDIS = "redis"


def logs(
    name: Annotated[LogName | None, typer.Argument(help="Whose log; none: all of them, in the order of time.", metavar="[NAME]")] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C, across rotations.")] = False,
    count: Annotated[int, typer.Option("--lines", "-n", min=0, max=1_000_000, help="How many lines to begin with.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print each line as the JSON object that it is.")] = False,
) -> None:
    """Print the last lines of the logs of server, audio, worker, daemon and redis, or of one of them."""
    from app.cli.log_files import LOG_NAMES, LogFile, in_order

    folder = terminal.settings().logs_dir
    files = [LogFile(each, folder / file_name) for each, file_name in LOG_NAMES.items() if name in {None, each}]
    if not follow and not any(file.path.exists() for file in files):
        msg = f"There is no log in {folder} yet: nothing has been started for this home."
        raise CommandError(msg, NOT_RUNNING)
    console = terminal.console()
    last = in_order(file.tail(count) for file in files)
    _print(console, last[max(0, len(last) - count) :], as_json=as_json)
    while follow:
        time.sleep(_POLL_S)
        _print(console, in_order(file.grown() for file in files), as_json=as_json)
    for file in files:
        file.close()


def _print(console: Console, lines: Iterable[Line], *, as_json: bool) -> None:
    for line in lines:
        if as_json:
            terminal.say(line.as_json)
        else:
            console.print(_pretty(line), soft_wrap=True)


def _pretty(line: Line) -> Text:
    """Return a line for people: local time, level, log, event, and the other facts."""
    from rich.text import Text

    moment = line.time.astimezone().isoformat(sep=" ", timespec="milliseconds")[:23] if line.is_dated else " " * 23
    level = str(line.facts.get("level", ""))
    facts = "".join(f" {key}={_plain(value)}" for key, value in line.facts.items() if key not in _SAID)
    return Text.assemble(
        (moment, "dim"),
        " ",
        (f"{level:<8}", _COLOURS.get(level, "")),
        (f"{line.log:<7}", "cyan"),
        _plain(line.facts.get("event", "")),
        (facts, "dim"),
        (_causes(line.facts.get("exception")), "red"),
    )


def _plain(value: Any) -> str:  # noqa: ANN401 - whatever was logged
    """Return *value* on one line, with nothing in it that a terminal would obey."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(text)[1:-1]


def _causes(exception: Any) -> str:  # noqa: ANN401 - of structlog's shape, or of an older version's
    """Return an exception's type, sentence and last place, each cause on a line of its own."""
    if not isinstance(exception, list):
        return f"\n    {_plain(exception)}" if exception else ""
    lines = []
    for cause in (cause for cause in exception if isinstance(cause, dict)):
        place = (cause.get("frames") or [{}])[-1]
        where = f" ({place.get('filename')}:{place.get('lineno')} in {place.get('name')})" if place else ""
        lines.append(f"\n    {_plain(cause.get('exc_type', ''))}: {_plain(cause.get('exc_value', ''))}{_plain(where)}")
    return "".join(lines)
