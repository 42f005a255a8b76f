"""The log files of a home as one row of lines in the order of time, also while they grow and are rotated.

Ours hold a JSON object a line, Redis writes lines of its own. A line without a
time of its own (the rest of something longer) goes with the one before it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

__all__ = ["LOG_NAMES", "Line", "LogFile", "in_order"]

LOG_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "server": "server.log",
        "audio": "mlx-audio-server.err.log",
        "worker": "worker.log",
        "daemon": "transcribe-daemon.log",
        "redis": "redis.log",
    }
)
"""Name on the command line -> file name."""

_BLOCK = 64 * 1024
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_REDIS_LINE = re.compile(
    r"^\d+:[A-Z] (?P<day>\d{1,2}) (?P<month>[A-Z][a-z]{2}) (?P<year>\d{4}) (?P<clock>[0-9:.]{8,12}) (?P<mark>[.*#-]) (?P<event>.*)$"
)
_REDIS_LEVELS = {".": "debug", "-": "debug", "*": "info", "#": "warning"}
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log."""

    log: str  # name of LOG_NAMES
    time: datetime
    text: str  # as it stands in the file
    facts: Mapping[str, Any]

    @property
    def as_json(self) -> str:
        """The line as JSON: its own, or what Redis's line says."""
        if "timestamp" in self.facts:
            return self.text
        moment = {"timestamp": self.time.isoformat()} if self.is_dated else {}
        return json.dumps({**moment, **self.facts}, ensure_ascii=False)

    @property
    def is_dated(self) -> bool:
        """Whether this line, or one before it, said when it was written."""
        return self.time > _LONG_AGO


@dataclass(slots=True)
class LogFile:
    """One log, read from its end and then onwards."""

    name: str
    path: Path
    _file: IO[bytes] | None = None
    _begun: bytes = b""  # a line whose end has not been written yet
    _time: datetime = field(default=_LONG_AGO)

    def tail(self, count: int) -> list[Line]:
        """Return the last *count* lines, those of rotated files too, and stand at the end."""
        self._open()
        content = b""
        if self._file is not None:
            content, self._begun = _split(_last_lines(self._file, count + 1))
        rotated = 1
        while content.count(b"\n") < count and (older := self.path.with_name(f"{self.path.name}.{rotated}")).is_file():
            with older.open("rb") as file:
                content = _last_lines(file, count - content.count(b"\n")) + content
            rotated += 1
        lines = self._read(content)
        return lines[-count:] if count else []

    def grown(self) -> list[Line]:
        """Return what was written since the last call; the old file's rest comes before a new file's beginning."""
        content = b""
        if self._file is not None:
            content = self._file.read()
            if self._is_current():
                if self._file.tell() > os.fstat(self._file.fileno()).st_size:  # emptied in place
                    self._file.seek(0)
                    content = self._file.read()
            else:
                content += self._file.read()
                self.close()
        if self._file is None:
            self._open()
            content += self._file.read() if self._file is not None else b""
        whole, self._begun = _split(self._begun + content)
        return self._read(whole)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._file = self.path.open("rb")

    def _is_current(self) -> bool:
        assert self._file is not None  # noqa: S101 - asked by the one caller
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def _read(self, content: bytes) -> list[Line]:
        lines = []
        for text in content.decode(errors="replace").split("\n"):
            if text.strip():
                line = self._line(text)
                self._time = line.time
                lines.append(line)
        return lines

    def _line(self, text: str) -> Line:
        if text.startswith("{"):
            with contextlib.suppress(ValueError):
                facts = json.loads(text)
                moment = datetime.fromisoformat(str(facts.get("timestamp")))
                return Line(self.name, moment if moment.tzinfo else moment.replace(tzinfo=UTC), text, facts)
        if found := _REDIS_LINE.match(text):
            month = _MONTHS.index(found["month"]) + 1 if found["month"] in _MONTHS else 1
            clock = found["clock"]
            with contextlib.suppress(ValueError):
                moment = datetime.fromisoformat(f"{found['year']}-{month:02d}-{int(found['day']):02d}T{clock}").astimezone()
                return Line(self.name, moment, text, {"level": _REDIS_LEVELS[found["mark"]], "logger": "redis", "event": found["event"]})
        return Line(self.name, self._time, text, {"logger": self.name, "event": text})


def in_order(batches: Iterable[Sequence[Line]]) -> list[Line]:
    """Return the lines of several logs in the order of time; each log's own order stays."""
    return sorted((line for batch in batches for line in batch), key=lambda line: line.time)


def _split(content: bytes) -> tuple[bytes, bytes]:
    """Return the whole lines, and the beginning of the next one."""
    whole, newline, begun = content.rpartition(b"\n")
    return whole + newline, begun


def _last_lines(file: IO[bytes], count: int) -> bytes:
    """Return at least the last *count* lines of *file*, from a line's beginning, and stand behind them."""
    end = position = file.seek(0, os.SEEK_END)
    content = b""
    while position and content.count(b"\n") <= count:
        step = min(_BLOCK, position)
        position -= step
        file.seek(position)
        content = file.read(step) + content
    file.seek(end)  # and not further: somebody may have written meanwhile
    return content.partition(b"\n")[2] if position else content
