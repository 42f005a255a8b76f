"""Checks of what runs, or is to run: ports, Redis, processes and their locks."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from app.cli.finding import Finding, gigabytes

if TYPE_CHECKING:
    import redis

    from app.settings import Settings

__all__ = ["check_ports", "check_processes", "check_redis", "check_services"]

_ANSWER_S = 3.0
_OLDEST_REDIS = 7
_PRIVILEGED = 1024


def check_ports(settings: Settings) -> Iterator[Finding]:
    """Check that each port is free, or ours."""
    if settings.port == settings.audio_port:
        mend = "Give MLX_LOCAL_AUDIO_PORT another number than MLX_LOCAL_PORT."
        yield Finding.failed("ports", f"Both APIs have port {settings.port}.", mend)
        return
    yield _check_port(settings, "api", settings.port, "MLX_LOCAL_PORT")
    yield _check_port(settings, "audio", settings.audio_port, "MLX_LOCAL_AUDIO_PORT")


def _check_port(settings: Settings, process: str, port: int, variable: str) -> Finding:
    from app.cli.ports import listen_error, listener_of

    name = f"port {port} ({process})"
    try:
        error = listen_error(settings.host, port)
    except OSError as unknown:
        return Finding.failed(name, f"{settings.host!r} is no address of this machine ({unknown})", "Set MLX_LOCAL_HOST to one that is.")
    if error is None:
        return Finding.ok(name, "free")
    if error.errno == errno.EADDRINUSE:
        return _check_taken_port(settings, process, port, variable, listener_of(port))
    mend = (
        f"Set {variable} to {_PRIVILEGED} or above." if error.errno == errno.EACCES else "Set MLX_LOCAL_HOST to an address of this machine."
    )
    return Finding.failed(name, f"{settings.host} cannot be listened on: {error.strerror}", mend)


def _check_taken_port(settings: Settings, process: str, port: int, variable: str, listener: tuple[int, str] | None) -> Finding:
    from app.cli.ownership import living
    from app.cli.programs import get_status

    name = f"port {port} ({process})"
    ours = living(settings.run_dir).get(process)
    if ours is not None and (listener is None or listener[0] == ours.pid):
        if get_status(settings, port, "/health") is not None:
            return Finding.ok(name, f"ours: process {ours.pid} answers")
        mend = f"See `mlx-local logs {'server' if process == 'api' else 'audio'}`; `mlx-local stop` and `up` start it again."
        return Finding.warning(name, f"ours, but process {ours.pid} does not answer", mend)
    whose = f"process {listener[0]} ({listener[1]})" if listener else "a process that this system does not name"
    return Finding.failed(name, f"taken by {whose}", f"Stop what uses it, or set {variable} to a free port.")


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Check which server keeps the jobs, that it answers, and that it keeps what it accepts."""
    import redis

    from app.cli.ownership import living
    from app.cli.redis_server import choose_server
    from app.cli.terminal import CommandError
    from app.errors import InvalidSetting
    from app.jobs.connection import connect

    if settings.redis_url is None:
        try:
            server = choose_server(settings.redis_dir)
        except CommandError as error:
            yield Finding.failed("redis", error.message, "The sentence says how.")
            return
        if "redis" not in living(settings.run_dir):
            yield Finding.ok("redis", f"{server}, bundled; it does not run now")
            return
    try:
        with contextlib.closing(connect(settings, retries=0, timeout_s=_ANSWER_S)) as client:
            facts: Mapping[str, Any] = dict(client.info())
            yield from _check_server(settings, facts, _options(client))
    except InvalidSetting as error:
        yield Finding.failed("redis", error.message, "Mend that setting.")
    except (redis.RedisError, OSError) as error:
        # The address may carry a password, so it is not repeated.
        where = "The Redis of MLX_LOCAL_REDIS_URL" if settings.redis_url else "The bundled server"
        mend = (
            "Start it, or mend the address."
            if settings.redis_url
            else "`mlx-local logs redis` says why; `mlx-local stop` and `up` start it again."
        )
        yield Finding.failed("redis", f"{where} does not answer ({type(error).__name__}).", mend)


def _options(client: redis.Redis) -> Mapping[str, str]:
    """Return the options that matter here; none where the server does not tell."""
    import redis

    with contextlib.suppress(redis.ResponseError):  # hosted servers forbid CONFIG
        return {str(name): str(value) for name, value in dict(client.config_get("appendfsync", "maxmemory-policy")).items()}
    return {}


def _check_server(settings: Settings, facts: Mapping[str, Any], options: Mapping[str, str]) -> Iterator[Finding]:
    version = str(facts.get("valkey_version") or facts.get("redis_version", "0"))
    kind = "Valkey" if "valkey_version" in facts else "Redis"
    whose = "yours, of MLX_LOCAL_REDIS_URL" if settings.redis_url else "bundled"
    found = f"{kind} {version}, {whose}, process {facts.get('process_id', '?')}"
    if int(str(facts.get("redis_version", "0")).split(".", 1)[0]) < _OLDEST_REDIS:
        yield Finding.failed("redis", found, f"Version {_OLDEST_REDIS} or later is needed.")
    elif facts.get("role", "master") != "master":
        yield Finding.failed("redis", f"{found}; a replica takes no jobs", "Set MLX_LOCAL_REDIS_URL to the primary.")
    else:
        yield Finding.ok("redis", found)
    yield _check_persistence(settings, facts, options)
    yield _check_eviction(facts, options)
    yield _check_store_memory(settings, facts)


def _check_persistence(settings: Settings, facts: Mapping[str, Any], options: Mapping[str, str]) -> Finding:
    """Check that accepted jobs reach the disk. The bundled server syncs by way of the worker, so its own option is off."""
    from app.cli.ownership import living

    name = "redis persistence"
    if not facts.get("aof_enabled"):
        return Finding.failed(name, "no append-only file: a crash of Redis loses accepted jobs", "Set `appendonly yes` there.")
    for field, what in (("aof_last_write_status", "write"), ("aof_last_bgrewrite_status", "rewrite")):
        if facts.get(field, "ok") != "ok":
            mend = "Free some space on its disk; its log has the cause."
            return Finding.failed(name, f"the last {what} of the append-only file failed", mend)
    sync = options.get("appendfsync")
    if settings.redis_url is None and sync == "no":
        if "worker" not in living(settings.run_dir):
            found = "append-only file, written before each answer, but no worker runs to sync it: a power cut may take more than a second"
            return Finding.warning(name, found, "Start the worker, or everything: `mlx-local up`.")
        return Finding.ok(name, "append-only file, written before each answer, synced each second by the worker")
    if sync is None:
        return Finding.ok(name, "append-only file; the server does not tell how often it is synced")
    if sync == "no":
        return Finding.warning(
            name, "append-only file, never synced: a power cut loses more than a second", "Set `appendfsync everysec` there."
        )
    return Finding.ok(name, f"append-only file, appendfsync {sync}")


def _check_eviction(facts: Mapping[str, Any], options: Mapping[str, str]) -> Finding:
    policy = str(facts.get("maxmemory_policy") or options.get("maxmemory-policy") or "noeviction")
    if policy != "noeviction":
        return Finding.failed(
            "redis eviction", f"maxmemory-policy {policy}: accepted jobs may be dropped", "Set `maxmemory-policy noeviction`."
        )
    return Finding.ok("redis eviction", policy)


def _check_store_memory(settings: Settings, facts: Mapping[str, Any]) -> Finding:
    used, limit = int(facts.get("used_memory", 0)), int(settings.max_redis_bytes)
    found = f"{used / 1e6:.1f} MB used of the {gigabytes(limit)} allowed"
    if used > limit:
        mend = "Wait until finished jobs are forgotten, shorten MLX_LOCAL_KEEP_SUBMITTED, or raise MLX_LOCAL_MAX_REDIS_BYTES."
        return Finding.failed("redis memory", f"{found}: every job is refused", mend)
    most = int(facts.get("maxmemory", 0))
    if most and most < limit:
        mend = f"Raise its `maxmemory` to {gigabytes(limit)}, or lower MLX_LOCAL_MAX_REDIS_BYTES to it."
        return Finding.warning("redis memory", f"{found}, but its own limit is {gigabytes(most)}", mend)
    return Finding.ok("redis memory", found)


def check_services(settings: Settings) -> Iterator[Finding]:
    """Check that services are as `install` would make them, and that they run; nothing where none are installed."""
    from app.cli.services.installation import plan_installation
    from app.cli.services.installed import find_installed
    from app.cli.services.system import RUNNING
    from app.cli.terminal import CommandError

    installed = find_installed(settings)
    if installed is None:
        return
    states = installed.states()
    name, found = "services", f"{installed.system.name}: " + ", ".join(f"{service} {state}" for service, state in states.items())
    try:
        planned = plan_installation(settings, installed.system)
    except CommandError as error:
        yield Finding.warning(name, f"{found}; `mlx-local install` would refuse", error.message)
        return
    if planned.new or planned.changed or planned.unwanted:
        yield Finding.warning(name, f"{found}; they are not as this version and this shell would make them", "`mlx-local install` does.")
    elif any(state != RUNNING for state in states.values()):
        yield Finding.warning(name, found, "`mlx-local restart` starts them; `mlx-local logs` says why one does not stay.")
    else:
        yield Finding.ok(name, found)


def check_processes(settings: Settings) -> Finding:
    """Check for processes that an `up` left behind. A lock dies with its holder, so a lock alone is never stale."""
    from app.cli.ownership import home_owner, living

    owner = home_owner(settings.run_dir)
    processes = living(settings.run_dir)
    orphans = {
        name: holder.pid for name, holder in processes.items() if holder.supervisor and (owner is None or holder.supervisor != owner.pid)
    }
    if orphans:
        left = ", ".join(f"{name} ({pid})" for name, pid in orphans.items())
        return Finding.warning("locks", f"left by an `up` that was killed: {left}", "`mlx-local stop` ends them.")
    socket = settings.run_dir / "redis.sock"
    stale = f"; {socket.name} is left of a Redis that was killed, and does no harm" if "redis" not in processes and socket.exists() else ""
    if owner is not None:
        return Finding.ok("locks", f"`mlx-local up` owns the home ({owner}){stale}")
    if not processes:
        return Finding.ok("locks", f"nothing runs{stale}")
    names = ", ".join(f"{name} ({holder.pid})" for name, holder in processes.items())
    return Finding.ok("locks", f"services own the home: {names}{stale}")
