"""Carries out the moves of the Lua script, each one transaction.

What a move put into a queue on its way, such as the next child of a parent,
is announced right after it by whoever made the move; should that fail, or
nobody here announce, the worker's reconciler does it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, cast

import redis

from app.errors import StoreUnavailable
from app.jobs import keys
from app.jobs.connection import store_errors
from app.log import get_logger

__all__ = ["Moves"]

log = get_logger("store")

_PARTS = ("moves", "chains", "batches", "webhooks", "callers", "workers")  # of one script, in this order
_RUN = "return { commands[ARGV[1]](), admitted }\n"


class Moves:
    """The script of one client. Thread-safe, and harmless when repeated after a lost answer."""

    def __init__(self, client: redis.Redis) -> None:
        folder = files("app.jobs")
        parts = [folder.joinpath(f"{name}.lua").read_text("utf-8") for name in _PARTS]
        self._script = client.register_script("\n".join([*parts, _RUN]))
        self.announce: Callable[[str], object] | None = None

    def __call__(self, command: str, arguments: Mapping[str, Any], raw: str = "") -> list[Any]:
        """Make a move and return what it says.

        Raises:
            StoreUnavailable: Redis does not answer; the move may have been made.
        """
        with store_errors():
            said, admitted = self._script(keys=[keys.PREFIX], args=self._arguments(command, arguments, raw))
        for job_id in admitted:
            self._announce(job_id)
        return cast("list[Any]", said)

    def queue(self, pipe: Any, command: str, arguments: Mapping[str, Any], raw: str = "") -> None:  # noqa: ANN401 - a redis pipeline
        """Add a move to *pipe*, for :meth:`execute`."""
        self._script(keys=[keys.PREFIX], args=self._arguments(command, arguments, raw), client=pipe)

    @staticmethod
    def execute(pipe: Any) -> list[list[Any]]:  # noqa: ANN401 - a redis pipeline
        """Make the moves of *pipe*, none of which puts anything into a queue, and return what each says."""
        with store_errors():
            return [said for said, _ in pipe.execute()]

    @staticmethod
    def _arguments(command: str, arguments: Mapping[str, Any], raw: str) -> list[str]:
        # None is left out: cjson would turn it into a truthy null.
        return [command, json.dumps({key: value for key, value in arguments.items() if value is not None}), raw]

    def _announce(self, job_id: str) -> None:
        if self.announce is None:
            return
        try:
            self.announce(job_id)
        except StoreUnavailable:
            log.warning("job.announcement_delayed", job=job_id)
