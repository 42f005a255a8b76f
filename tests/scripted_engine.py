"""An engine of the real Protocol that does what its prompt says, and can take the process down with it.

``say N`` answers N tokens, one a step, ``w0 w1 …``; ``think N`` none, after as
many steps; ``die`` kills the process with SIGKILL in its fifth step, as an
out-of-memory killer would; ``raise`` fails as a whole, ``refuse`` fails by itself. Token N has the logprob -N. Of a
picture that is to be read it says as many tokens as its bar is long
(:func:`tests.documents.bar_of`). Catalogs name it ``tests.scripted_engine:open_frontend``.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.engines.ledger import KvAccount
from app.engines.protocols import Engine, Event, Failed, Finished, Likelihood, Loading, Sampling, TextWork, Tokens, Work
from app.errors import EngineFailed
from app.models.spec import ModelSpec
from tests.documents import bar_of

__all__ = ["ScriptedEngine", "ScriptedFrontend", "open_frontend"]

_SLOTS = 8
_DEADLY_STEP = 4
_STEP_S = 0.005  # so that work is in flight when a test kills something


class ScriptedEngine:
    """Steps up to eight works at once, one token each."""

    slots = _SLOTS

    def __init__(self) -> None:
        self._waiting: list[TextWork] = []
        self._active: dict[str, tuple[TextWork, int]] = {}

    def add(self, work: Work) -> None:
        assert isinstance(work, TextWork)
        self._waiting.append(work)

    def cancel(self, work_id: str) -> None:
        self._waiting = [work for work in self._waiting if work.id != work_id]
        self._active.pop(work_id, None)

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._active)

    def _admit(self) -> None:
        while self._waiting and len(self._active) < self.slots:
            alone = self._waiting[0].alone or any(work.alone for work, _ in self._active.values())
            if alone and self._active:
                return
            work = self._waiting.pop(0)
            self._active[work.id] = (work, len(work.published))

    def stepping(self) -> Sequence[str]:
        self._admit()
        return list(self._active)

    def step(self) -> Sequence[Event]:
        self._admit()
        time.sleep(_STEP_S)
        events: list[Event] = []
        for work_id, (work, done) in list(self._active.items()):
            script = bytes(work.prompt).decode()
            if script == "die" and done == _DEADLY_STEP:
                os.kill(os.getpid(), signal.SIGKILL)
            if script == "raise":
                text = "asked to"
                raise RuntimeError(text)
            if script == "refuse":
                events.append(Failed(work_id, EngineFailed("This work was to fail.")))
                del self._active[work_id]
                continue
            if script == "die" or (script.startswith("think ") and done < work.max_tokens):
                self._active[work_id] = (work, done + 1)
            elif done < work.max_tokens:
                events.append(Tokens(work_id, (done,), f"w{done} ", _thought(work, done)))
                self._active[work_id] = (work, done + 1)
            else:
                events.append(Finished(work_id, "stop", len(work.prompt), done, 0))
                del self._active[work_id]
        return events

    def close(self) -> None:
        self._waiting.clear()
        self._active.clear()


def _thought(work: TextWork, number: int) -> tuple[Likelihood, ...]:
    if work.logprobs is None:
        return ()
    token = f"w{number} ".encode()
    return (Likelihood(token, -float(number), ((token, -float(number)),)),)


class ScriptedFrontend:
    """The prompt is the last message's bytes, or the completion's, or what a picture says."""

    context = 100_000
    slots = _SLOTS

    def prepare(
        self,
        work_id: str,
        kind: str,
        request: Mapping[str, Any],
        *,
        seed: int,
        published: Sequence[int] = (),
        alone: bool = False,
    ) -> Work:
        script = _script(kind, request)
        count = int(script.split()[1]) if script.startswith(("say ", "think ")) else 1
        return TextWork(
            work_id,
            tuple(script.encode()),
            count,
            Sampling(seed),
            published=tuple(published),
            alone=alone,
            logprobs=1 if request.get("logprobs") else None,
            echo=script if request.get("echo") else "",
        )

    def open(self, account: KvAccount | None = None) -> Loading:
        def load() -> Iterator[Engine | None]:
            yield None
            yield ScriptedEngine()

        return load()


def _script(kind: str, request: Mapping[str, Any]) -> str:
    if kind == "ocr":
        assert request["image"]["blob"] in request["image"]["path"]
        return str(request.get("prompt") or f"say {bar_of(Path(request['image']['path']))}")
    return str(request["prompt"] if kind == "completion" else request["messages"][-1]["content"])


def open_frontend(spec: ModelSpec, directory: Path) -> ScriptedFrontend:
    """Open the scripted model; its folder is not looked at."""
    return ScriptedFrontend()
