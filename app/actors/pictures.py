"""What a chat that shows pictures is around its engine: names of blobs become files, which is what eyes take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app.actors.runs import Joined, Run

if TYPE_CHECKING:
    from app.jobs.chains import Children
    from app.jobs.spool import Spool

__all__ = ["PictureSteps"]


class PictureSteps:
    """The step before a chat.

    Args:
        spool: Where the pictures are.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def plan(self, run: Run) -> None:
        """Say where the pictures are, if there are any."""
        if run.claim.blobs:
            run.request = {**run.claim.request, "messages": [self._found(message) for message in run.claim.request["messages"]]}

    def join(self, run: Run, children: Children) -> Joined:
        """Never asked: a chat plans no children."""
        msg = f"{run.claim.id} is a chat, which has no children ({len(children)})."
        raise TypeError(msg)

    def _found(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(message["content"], str):
            return dict(message)
        # A path is what the engine takes, and never what a caller says.
        parts = [{**part, "path": self._spool.path(part["blob"])} if part["type"] == "image" else part for part in message["content"]]
        return {**message, "content": parts}
