"""How many tokens a chat has, told by the worker without its model: the step of jobs of kind ``count``.

Nobody submits such a job; the API does on behalf of a caller who asks. It waits in
a queue of its own, behind no model and no load, and is as durable as any other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.actors.pictures import with_paths
from app.actors.runs import Joined, Run
from app.engines.protocols import CountsPrompts
from app.errors import UnsupportedTask

if TYPE_CHECKING:
    from app.jobs.blobs import Blobs
    from app.jobs.chains import Children
    from app.models.catalog import Catalog
    from app.scheduler.breadcrumb import Preparing
    from app.scheduler.frontends import Frontends

__all__ = ["COUNTS_AT_ONCE", "CountSteps", "counted"]

COUNTS_AT_ONCE = 2  # tokenizers take a core each


class CountSteps:
    """Counts.

    Args:
        spool: Where the pictures of chats are.
        catalog: Gives the catalog as it is.
        frontends: Have the tokenizers.
        preparing: Told whose request a tokenizer or template works on.
    """

    def __init__(self, spool: Blobs, catalog: Callable[[], Catalog], frontends: Frontends, preparing: Preparing) -> None:
        self._spool = spool
        self._catalog = catalog
        self._frontends = frontends
        self._preparing = preparing

    def plan(self, run: Run) -> Joined:
        """Return the number at once.

        Raises:
            ModelNotDownloaded: The model's files are not on this machine: nothing is downloaded only to count.
            ModelLoadFailed: They are no model that can be served.
            UnsupportedTask: The model cannot say.
            InferenceError: What the model's frontend says of the request.
        """
        spec = self._catalog().get(run.claim.model)
        frontend = self._frontends.of(spec, run.work_id)
        if not isinstance(frontend, CountsPrompts):
            raise UnsupportedTask(spec.id, "count", spec.tasks)
        request = with_paths(run.claim.request, self._spool)
        with self._preparing.naming(run.work_id):
            return counted(frontend.count(request))

    def join(self, run: Run, children: Children) -> Joined:
        """Never asked: nothing is planned."""
        msg = f"{run.claim.id} is a count, which has no children ({len(children)})."
        raise TypeError(msg)


def counted(tokens: int) -> Joined:
    """Return the output of a job that counted *tokens*."""
    return Joined(json.dumps({"input_tokens": tokens}).encode(), {"prompt_tokens": tokens})
