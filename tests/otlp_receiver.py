"""A collector of spans on this machine: OTLP over HTTP, kept until a test asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["OtlpReceiver", "facts_of"]

_PATIENCE_S = 30.0


class OtlpReceiver:
    """Listens until the block ends."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._came = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.take(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(ExportTraceServiceResponse().SerializeToString())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="otlp-receiver")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._came:
            self._spans += [span for of in request.resource_spans for scope in of.scope_spans for span in scope.spans]
            self._came.notify_all()

    def wait_for(self, enough: Callable[[Sequence[Span]], bool]) -> list[Span]:
        """Return the spans so far, once there are enough."""
        with self._came:
            assert self._came.wait_for(lambda: enough(self._spans), _PATIENCE_S), [span.name for span in self._spans]
            return list(self._spans)


def facts_of(span: Span) -> dict[str, str | int]:
    """Return a span's attributes."""
    return {fact.key: fact.value.string_value or fact.value.int_value for fact in span.attributes}
