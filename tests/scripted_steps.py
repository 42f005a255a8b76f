"""Steps that do what a chat's last message says, if that begins with ``chain``; any other chat is an ordinary job.

``chain {"say": ["say 3", "say 4"], "window": 2}`` has a child for each script, which counts as many units as its answer has tokens.
More words: ``on_failure``; ``again``, the scripts of a second step's children; ``die_in`` (``plan`` or ``join``) with
``until``, the last attempt that kills the process there. The output has every child's answer, null where there is none.
``python -m tests.scripted_steps`` is a worker that knows them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from app.actors.main import main
from app.actors.runs import Joined, Run
from app.jobs.chains import Child, Children, EndedChild, Plan
from app.jobs.record import JobKind

__all__ = ["ScriptedSteps", "chat"]


def chat(script: str) -> dict[str, Any]:
    """Return the request that says *script*."""
    return {"messages": [{"role": "user", "content": script}]}


class ScriptedSteps:
    """The steps of chats."""

    def plan(self, run: Run) -> Plan | None:
        script = _script(run)
        if script is None:
            return None
        _die(run, script, "plan")
        return _plan(run, script, script["say"], "again" if "again" in script else "join")

    def join(self, run: Run, children: Children) -> Joined | Plan:
        script = _script(run)
        assert script is not None
        if run.claim.step == "again":
            return _plan(run, script, script["again"], "join")
        _die(run, script, "join")
        output = {"number": [child.number for child in children], "texts": [_text(child) for child in children]}
        spent = sum(child.usage["completion_tokens"] for child in children if child.usage)
        return Joined(json.dumps(output).encode(), {"completion_tokens": spent})


def _script(run: Run) -> dict[str, Any] | None:
    word, _, rest = str(run.claim.request["messages"][-1]["content"]).partition(" ")
    return json.loads(rest) if word == "chain" else None


def _plan(run: Run, script: dict[str, Any], says: list[str], step: str) -> Plan:
    children = tuple(Child(kind=JobKind.CHAT, model=run.claim.model, request=chat(say), units=_units(say)) for say in says)
    total = sum(map(_units, [*script["say"], *script.get("again", [])]))
    return Plan(
        children=children,
        window=script.get("window", 4),
        step=step,
        on_failure=script.get("on_failure", "fail"),
        unit="tokens",
        total=total,
    )


def _units(say: str) -> int:
    return int(say.split()[1]) if say.startswith("say ") else 1


def _text(child: EndedChild) -> str | None:
    return None if child.output is None else str(json.loads(child.output)["choices"][0]["message"]["content"])


def _die(run: Run, script: dict[str, Any], step: str) -> None:
    if script.get("die_in") == step and run.claim.attempt <= script["until"]:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(steps={JobKind.CHAT: ScriptedSteps()}))
