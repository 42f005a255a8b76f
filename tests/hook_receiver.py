"""A receiver of webhooks on this machine, which may fail, hang, be away and come back.

It keeps what arrived, whatever it answered, and says so to whoever waits for that.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

__all__ = ["HANG", "Arrived", "HookReceiver"]

HANG = 0
"""In place of a status: nothing is answered before the receiver closes or is told to go on."""

_PATIENCE_S = 60.0
_TICK_S = 0.02


class Arrived(NamedTuple):
    """One request, and what it was answered with."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int

    @property
    def event(self) -> dict[str, Any]:
        """What it says."""
        event: dict[str, Any] = json.loads(self.body)
        return event

    @property
    def about(self) -> tuple[str, str]:
        """Whose event it is, and which."""
        return self.event["data"]["id"], self.event["type"]


class HookReceiver:
    """Runs inside ``with``. Entering it again after it was away serves the same port.

    Args:
        answers: Statuses of the first requests, in the order in which they arrive; those that follow are answered with 204.
        on_arrival: Is told of each request before it is answered.
        headers: Of every answer.
    """

    def __init__(
        self, *answers: int, on_arrival: Callable[[Arrived], object] = lambda _: None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.arrived: list[Arrived] = []
        self.go_on = threading.Event()  # to those that hang
        self._answers = list(answers)
        self._on_arrival = on_arrival
        self._headers = headers or {}
        self._changed = threading.Condition()
        self._port = 0
        self._http: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """An address that leads here, with a secret of its own in it."""
        return f"http://127.0.0.1:{self._port}/hook?token=of-the-receiver"

    @property
    def taken(self) -> list[Arrived]:
        """What was answered with 204: the receiver has it."""
        with self._changed:
            return [one for one in self.arrived if one.status == 204]

    def wait_for(self, is_there: Callable[[list[Arrived]], bool]) -> list[Arrived]:
        """Return what has arrived, once it is enough."""
        with self._changed:
            assert self._changed.wait_for(lambda: is_there(self.arrived), _PATIENCE_S), [(one.about, one.status) for one in self.arrived]
            return list(self.arrived)

    def wait_for_events(self, *about: tuple[str, str]) -> list[Arrived]:
        """Return what has arrived, once the receiver has these events."""
        return self.wait_for(lambda arrived: {one.about for one in arrived if one.status == 204} >= set(about))

    def _take(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        with self._changed:
            status = self._answers.pop(0) if self._answers else 204
            self.arrived.append(Arrived(path, headers, body, status))
            self._changed.notify_all()
        self._on_arrival(self.arrived[-1])
        return status

    def __enter__(self) -> Self:
        self.go_on.clear()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.close_connection = True
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if len(body) < int(self.headers["Content-Length"]):
                    return  # its sender stopped in the middle
                status = receiver._take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                if status == HANG:
                    receiver.go_on.wait()
                    return
                self.send_response(status)
                for name, value in {"Content-Length": "0", **receiver._headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = int(self._http.server_address[1])
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": _TICK_S}, name="hook-receiver")
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._http is not None
        assert self._thread is not None
        self.go_on.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
