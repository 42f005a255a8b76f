"""Structured logs: an event and its facts, one JSON object a line, rotated by us.

Call :func:`configure` once, at the start of a process. Prompts, transcripts,
keys and file contents are never logged at info; what a third party logs
(dramatiq, uvicorn) passes through the same renderer.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger
    from structlog.typing import Processor

__all__ = ["configure", "get_logger"]

_ROTATE_BYTES = 10 * 1024**2
_ROTATE_KEEP = 5


def get_logger(component: str) -> BoundLogger:
    """Return a logger whose lines carry *component*."""
    logger: BoundLogger = structlog.stdlib.get_logger(component)
    return logger


def configure(level: str, file: Path | None = None) -> None:
    """Send every log line of this process to *file* and, if there is one, to the terminal.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        file: JSON lines go there; its folder is made. Without it, JSON goes to stderr
            unless stderr is a terminal, which gets plain lines.
    """
    shared: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        rotating = logging.handlers.RotatingFileHandler(file, maxBytes=_ROTATE_BYTES, backupCount=_ROTATE_KEEP, encoding="utf-8")
        rotating.setFormatter(_formatter(shared, _json()))
        root.addHandler(rotating)
    if sys.stderr is not None and (file is None or sys.stderr.isatty()):
        terminal = logging.StreamHandler(sys.stderr)
        plain: list[Processor] = [structlog.dev.ConsoleRenderer(colors=True)] if sys.stderr.isatty() else _json()
        terminal.setFormatter(_formatter(shared, plain))
        root.addHandler(terminal)
    root.setLevel(level.upper())
    # Third parties that log request lines, message arguments or every poll at info.
    for noisy in ("httpx", "httpcore", "filelock", "dramatiq", "uvicorn.access", "urllib3", "huggingface_hub", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def _json() -> list[Processor]:
    # Without locals: a frame's variables hold prompts and keys.
    tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    return [tracebacks, structlog.processors.JSONRenderer(ensure_ascii=False)]


def _formatter(shared: list[Processor], render: list[Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )
