"""Spans, where somebody collects them: which parts of a request's time went where, over both processes.

Off unless an address is set, ours (``MLX_LOCAL_TRACES``) or OpenTelemetry's own. While it is off we import
nothing of OpenTelemetry. The span of a request travels to the worker in the job's record, as W3C's trace
context writes it; a caller's own comes in the header ``traceparent``. No span has a prompt, an answer, a key
or a file's name in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from app.log import get_logger

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from app.settings import Settings

__all__ = ["CURRENT", "Account", "Part", "RequestSpan", "Traces", "open_traces"]

log = get_logger("tracing")

CURRENT: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The span of the request that is being served, for the jobs that it submits."""

_ADDRESSES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a span. Seconds since the epoch."""

    name: str
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Account:
    """A span that is over, and the spans inside it. Seconds since the epoch."""

    name: str
    parent: str | None  # a traceparent; None: it begins a trace
    began_s: float
    ended_s: float
    facts: Mapping[str, str | int]
    parts: tuple[Part, ...] = ()
    error_code: str | None = None


@dataclass(slots=True)
class RequestSpan:
    """What becomes known of a request while it is served."""

    route: str | None = None
    status: int | None = None
    job_id: str | None = None


class Traces(Protocol):
    """Where spans go. Thread-safe; sending is done elsewhere and never waited for."""

    def serving(self, method: str, headers: Mapping[str, str]) -> AbstractContextManager[RequestSpan]:
        """Span the block that serves a request, as a child of what its headers name; :data:`CURRENT` is it meanwhile."""
        ...

    def record(self, account: Account) -> None:
        """Take a span that is over."""
        ...

    def close(self) -> None:
        """Send what is left, for a few seconds at the most."""
        ...


def open_traces(settings: Settings, part: str) -> Traces | None:
    """Return where the spans of this process go; None: nowhere.

    Args:
        settings: May have an address.
        part: Of the software that this process is: ``api`` or ``worker``.
    """
    if not (settings.traces or any(os.environ.get(name) for name in _ADDRESSES)) or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    try:
        from app.tracing_otel import OtelTraces
    except ImportError as error:
        log.warning("tracing.unavailable", missing=error.name, detail="pip install 'mlx-local-inference[otel]'")
        return None
    return OtelTraces(settings.traces, part)
