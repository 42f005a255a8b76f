"""A web server on this machine that gives pictures, or does to those who ask what strangers' servers do.

It knows who connected and what was asked, so that a test can tell that nothing was.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

__all__ = ["Answer", "PictureServer", "gives", "leads_to", "never_ends", "says"]

Answer = Callable[["PictureServer", BaseHTTPRequestHandler], None]
_TICK_S = 0.02


class PictureServer:
    """Runs inside ``with``. Paths that have no answer are not found."""

    def __init__(self, answers: Mapping[str, Answer], tls: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.asked: list[tuple[str, Mapping[str, str]]] = []  # path and headers
        self.hung_up = threading.Event()  # the client went before an answer's end
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                self.close_connection = True
                try:
                    answers.get(self.path, says(404))(server, self)
                except OSError:
                    server.hung_up.set()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        class Counting(ThreadingHTTPServer):
            def get_request(self) -> tuple[socket.socket, Any]:
                connection, address = super().get_request()
                server.connections += 1
                return connection, address

            def handle_error(self, request: object, client_address: object) -> None:
                server.hung_up.set()  # as when a certificate is not believed

        self._http = Counting(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self._http.server_address[1])
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": _TICK_S})

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        """Return an address that leads here, if *host* does."""
        return f"{scheme}://{host}:{self.port}{path}"

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [path for path, _ in self.asked]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def says(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Answer with *status*; underscores in names of headers are hyphens."""

    def answer(_server: PictureServer, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def gives(body: bytes, **headers: str) -> Answer:
    """Answer with *body*."""
    return says(200, body, **headers)


def leads_to(location: str, status: int = 302) -> Answer:
    """Send the client elsewhere."""
    return says(status, Location=location)


def never_ends(piece: bytes, *, slowly: bool, head: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> Answer:
    """Send *head*, then *piece* again and again until the client goes."""

    def answer(server: PictureServer, handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        while not server.closing.is_set():
            handler.wfile.write(piece)
            if slowly:
                server.closing.wait(_TICK_S)

    return answer
