"""Spans by OpenTelemetry's SDK, sent as OTLP over HTTP. Imported only where spans are wanted (:mod:`app.tracing`).

What OpenTelemetry reads of the environment counts here too: addresses, headers, sampler, resource attributes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__
from app.tracing import CURRENT, Account, RequestSpan

__all__ = ["OtelTraces"]

_NAME = "mlx-local-inference"
_W3C = TraceContextTextMapPropagator()
_SERVER_ERROR = 500
_CLOSING_S = 2.0


class OtelTraces:
    """The spans of one process.

    Args:
        address: Of a collector, such as ``http://127.0.0.1:4318``; None: the environment has it.
        part: Of the software that this process is.
    """

    def __init__(self, address: str | None, part: str) -> None:
        name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": _NAME}
        resource = Resource.create({**name, "service.version": __version__, "mlx_local.part": part})
        exporter = OTLPSpanExporter(endpoint=f"{address.rstrip('/')}/v1/traces") if address else OTLPSpanExporter()
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(_NAME, __version__)

    @contextmanager
    def serving(self, method: str, headers: Mapping[str, str]) -> Iterator[RequestSpan]:
        """Span the block that serves a request."""
        known = RequestSpan()
        span = self._tracer.start_span(method, context=_W3C.extract(headers), kind=SpanKind.SERVER)
        token = CURRENT.set(_traceparent(span))
        try:
            yield known
        finally:
            CURRENT.reset(token)
            span.set_attribute("http.request.method", method)
            if known.route:
                span.update_name(f"{method} {known.route}")
                span.set_attribute("http.route", known.route)
            if known.status is not None:
                span.set_attribute("http.response.status_code", known.status)
            if known.job_id:
                span.set_attribute("mlx_local.job.id", known.job_id)
            if known.status is None or known.status >= _SERVER_ERROR:
                span.set_status(StatusCode.ERROR)
            span.end()

    def record(self, account: Account) -> None:
        """Take a span that is over, and those inside it."""
        parent = _W3C.extract({"traceparent": account.parent}) if account.parent else Context()
        span = self._tracer.start_span(account.name, parent, SpanKind.CONSUMER, account.facts, start_time=_ns(account.began_s))
        inside = set_span_in_context(span, Context())
        for part in account.parts:
            self._tracer.start_span(part.name, inside, start_time=_ns(part.began_s)).end(_ns(part.ended_s))
        if account.error_code is not None:
            span.set_attribute("error.type", account.error_code)
            span.set_status(StatusCode.ERROR)
        span.end(_ns(account.ended_s))

    def close(self) -> None:
        """Send what is left. A collector that does not answer is not waited for: the SDK would, for half a minute."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces-closing", daemon=True)
        closing.start()
        closing.join(_CLOSING_S)


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _traceparent(span: Span) -> str | None:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, set_span_in_context(span, Context()))
    return carrier.get("traceparent")
