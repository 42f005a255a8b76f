"""What a chat that shows pictures or videos is around its engine: names of blobs become files, which is what eyes take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app.actors.runs import Joined, Run

if TYPE_CHECKING:
    from app.jobs.blobs import Blobs
    from app.jobs.chains import Children

__all__ = ["PictureSteps", "with_paths"]


class PictureSteps:
    """The step before a chat.

    Args:
        spool: Where the pictures are.
    """

    def __init__(self, spool: Blobs) -> None:
        self._spool = spool

    def plan(self, run: Run) -> None:
        """Say where the pictures and the frames of videos are, if there are any."""
        if run.claim.blobs:
            run.request = with_paths(run.claim.request, self._spool)

    def join(self, run: Run, children: Children) -> Joined:
        """Never asked: a chat plans no children."""
        msg = f"{run.claim.id} is a chat, which has no children ({len(children)})."
        raise TypeError(msg)


def with_paths(request: Mapping[str, Any], spool: Blobs) -> dict[str, Any]:
    """Return a chat whose pictures say where they are in *spool*."""
    return {**request, "messages": [_found(message, spool) for message in request["messages"]]}


def _found(message: Mapping[str, Any], spool: Blobs) -> dict[str, Any]:
    if not isinstance(message.get("content"), list):
        return dict(message)
    # A path is what the engine takes, and never what a caller says.
    parts = [{**part, "path": spool.path(part["blob"])} if part["type"] in {"image", "video"} else part for part in message["content"]]
    return {**message, "content": parts}
