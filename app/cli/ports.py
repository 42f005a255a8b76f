"""Whether one of our ports can be listened on, and who listens there already."""

from __future__ import annotations

import contextlib
import socket

__all__ = ["listen_error", "listener_of"]


def listen_error(host: str, port: int) -> OSError | None:
    """Listen on *host* and *port* for a moment, as the server will; return what keeps us from it.

    Raises:
        socket.gaierror: *host* is no address of this machine.
    """
    kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(kind, socket.SOCK_STREAM) as probe:
        # As the server does: a connection that just closed is nobody's port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except OSError as error:
            return error
    return None


def listener_of(port: int) -> tuple[int, str] | None:
    """Return process id and name of who listens on *port*, None where this system does not tell."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):  # macOS tells root alone
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return connection.pid, psutil.Process(connection.pid).name()
    return None
