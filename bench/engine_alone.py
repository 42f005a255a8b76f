"""The engine in-process: no Redis, no HTTP, no threads. A child process that reads a line of JSON and answers with one.

A line in is a list of OpenAI chat bodies, done together; a line out has, for
each, the seconds to the first text, and the tokens and seconds of all.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.homes import environment

__all__ = ["EngineAlone", "engine_alone"]


class EngineAlone:
    """The parent's end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def together(self, requests: list[dict[str, Any]]) -> dict[str, Any]:
        """Run *requests* in one engine; return ``first_s`` (a list), ``whole_s`` and ``tokens``."""
        if self._process.stdin is None or self._process.stdout is None:
            message = "the engine's pipes are closed"
            raise RuntimeError(message)
        self._process.stdin.write(json.dumps(requests) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            message = f"the engine ended with {self._process.wait()}"
            raise RuntimeError(message)
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def engine_alone(home: Path, **more: str) -> Iterator[EngineAlone]:
    """Run the chat model of *home* in a child process, with what a worker gets in its environment, and *more*."""
    from app.machine import worker_environment
    from app.settings import load_settings

    env = environment(home, **worker_environment(load_settings(home=home))) | more
    command = [sys.executable, "-m", "bench.engine_alone"]
    process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield EngineAlone(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(60)


def main() -> None:
    """Answer until standard input ends."""
    from app.engines.device import settle_device
    from app.engines.registry import open_frontend
    from app.models.catalog import load_catalog
    from app.models.hub import locate
    from app.models.spec import Task
    from app.settings import load_settings

    settings = load_settings()
    spec = load_catalog(settings).resolve(None, Task.CHAT)
    directory = locate(spec, settings)
    if directory is None:
        sys.exit(f"{spec.id} is not on disk")
    settle_device()
    frontend = open_frontend(spec, directory)
    (engine,) = [loaded for loaded in frontend.open() if loaded is not None]
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(frontend, engine, json.loads(line))) + "\n")
        sys.stdout.flush()
    engine.close()


def _answer(frontend: Any, engine: Any, requests: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: ANN401 - Frontend and Engine, imported late
    from app.engines.protocols import Failed, Finished, Tokens

    began = time.perf_counter()
    for number, request in enumerate(requests):
        engine.add(frontend.prepare(str(number), "chat", request, seed=number))
    first: dict[str, float] = {}
    tokens = 0
    while engine.has_work:
        for event in engine.step():
            match event:
                case Tokens(id=name, text=text) if text:
                    first.setdefault(name, time.perf_counter() - began)
                case Finished(completion_tokens=count):
                    tokens += count
                case Failed(error=error):
                    raise error
    return {"first_s": list(first.values()), "whole_s": time.perf_counter() - began, "tokens": tokens}


if __name__ == "__main__":
    main()
