"""Clients of Redis, each with the time-outs and retries that its use can bear.

Two kinds, because a repeated command means different things to each:

* the store's scripts carry ids and tokens of their caller, so they may be
  repeated after a lost answer: :func:`connect` retries for a few seconds;
* Dramatiq's scripts pop and push lists, so a repeat corrupts them:
  :func:`connect_broker` never retries and never times out by itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from app.errors import InvalidSetting, StoreUnavailable

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["connect", "connect_broker", "redis_url", "server_id", "socket_path", "store_errors"]

# sockaddr_un.sun_path holds 104 bytes on macOS and 108 on Linux, the final NUL included.
_MAX_SOCKET_PATH_BYTES = 100
_REMOTE_TIMEOUT_S = 30.0  # as long as a heartbeat counts: after that others have this process's jobs


def socket_path(settings: Settings) -> Path:
    """Return where the bundled server listens: in the home, or in a private folder of /tmp where that is too long."""
    path = settings.run_dir / "redis.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES:
        return path
    digest = hashlib.sha256(os.fsencode(settings.home)).hexdigest()[:16]
    return _private_folder() / f"{digest}.sock"


def _private_folder() -> Path:
    """Make and return a folder in /tmp that is ours alone."""
    folder = Path("/tmp") / f"mlx-local-{os.getuid()}"  # noqa: S108 - ownership and mode are checked below
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        msg = f"{folder} is not a folder of this user alone (mode 0700); choose a shorter MLX_LOCAL_HOME"
        raise InvalidSetting(msg, param="home")
    return folder


def redis_url(settings: Settings) -> str:
    """Return the address of the job store: the user's own, else the bundled server's socket."""
    return settings.redis_url or f"unix://{socket_path(settings)}"


def connect(settings: Settings, *, retries: int = 8, timeout_s: float | None = None) -> redis.Redis:
    """Return a thread-safe client for the job store; text in, text out.

    Args:
        settings: Says where.
        retries: Attempts after the first, 0.05 s to 1 s apart; 8 are about 4 s in all.
        timeout_s: How long one answer may take; None: what the kind of address can bear.
    """
    retry = Retry(ExponentialBackoff(cap=1.0, base=0.05), retries)
    bounds = {} if timeout_s is None else {"socket_timeout": timeout_s}
    return _client(settings, retry=retry, decode_responses=True, **bounds)


def connect_broker(settings: Settings) -> redis.Redis:
    """Return a client for Dramatiq: bytes, no retry, because a repeated EVALSHA there is not idempotent."""
    return _client(settings, retry=Retry(NoBackoff(), 0), decode_responses=False)


def server_id(client: redis.Redis) -> str:
    """Return what a server calls itself until it ends, so that two clients can tell whether they have the same one."""
    facts: dict[str, Any] = client.info("server")
    return str(facts["run_id"])


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Turn Redis being away, full or unable to write into :class:`StoreUnavailable`.

    MISCONF is what Redis answers to every write after its disk failed it.
    """
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.OutOfMemoryError) as error:
        raise StoreUnavailable from error
    except redis.ResponseError as error:
        if str(error).startswith("MISCONF"):
            raise StoreUnavailable from error
        raise


def _client(settings: Settings, **options: Any) -> redis.Redis:  # noqa: ANN401 - redis-py's own options
    url = redis_url(settings)
    remote: dict[str, Any] = {}
    if not url.startswith("unix://"):
        remote = {"socket_timeout": _REMOTE_TIMEOUT_S, "socket_connect_timeout": 5.0, "socket_keepalive": True}
        remote["socket_keepalive_options"] = _keepalive()
    else:
        remote = {"socket_timeout": None}
    try:
        client = redis.Redis.from_url(url, **{**remote, **options})
        client.connection_pool.make_connection()  # sees whether every option is one; connects nowhere
    except (ValueError, TypeError, redis.RedisError):
        # What is wrong with it is not repeated: it may be a part of the password.
        msg = (
            "MLX_LOCAL_REDIS_URL: must be an address such as rediss://user:password@mini.lan:6380/0?ssl_ca_certs=/path/ca.pem (redis://"
            " without TLS), and what is no letter or digit in a password must be percent-encoded"
        )
        raise InvalidSetting(msg, param="redis_url") from None
    return client


def _keepalive() -> dict[int, int]:
    """Return how a connection that nothing is sent over is found dead: after 15 s, and 15 s more of silence.

    Without it a subscription would listen for ever to a machine that is gone.
    """
    seconds = {"TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  # the second is what macOS calls the first
    return {getattr(socket, name): value for name, value in seconds.items() if hasattr(socket, name)}
