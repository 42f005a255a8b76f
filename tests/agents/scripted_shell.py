"""The shell of mini-swe-agent that runs no command: a model of 135 million parameters shall have none.

What a command prints is written here: two listings of a folder, then the line
that ends the agent's work. It is loaded by mini-swe-agent, in that tool's Python.
"""

from __future__ import annotations

from typing import Any

from minisweagent.environments.local import LocalEnvironment

__all__ = ["ScriptedShell"]

_PRINTED = ("notes.txt\n", "notes.txt\n", "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT\nThere is notes.txt.\n")


class ScriptedShell(LocalEnvironment):  # type: ignore[misc] # its package is not in our environment
    """Prints what the script says, whatever the command."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**settings)
        self._left = list(_PRINTED)

    def execute(self, action: dict[str, Any], cwd: str = "", *, timeout: int | None = None) -> dict[str, Any]:
        """Return the next output of the script; its last one ends the agent, by the agent's own rule."""
        output = {"output": self._left.pop(0), "returncode": 0, "exception_info": ""}
        self._check_finished(output)
        return output
