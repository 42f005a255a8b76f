"""Going on from a stored response: its conversation before the new input, and its pictures held for the new job."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.api.responses.chats import NOTES, Chat
from app.api.responses.requests import ResponseRequest, ResponseTokensRequest
from app.api.responses.stored import find
from app.api.responses.turns import with_instructions
from app.errors import JobNotFound, ResponseNotFound, UnsupportedTask
from app.models.spec import Task

if TYPE_CHECKING:
    from app.api.services import Services
    from app.jobs.submission import NewJob

__all__ = ["Earlier", "earlier_of", "going_on"]

_PARAM = "previous_response_id"


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a response goes on from."""

    turns: tuple[dict[str, Any], ...] = ()
    blobs: tuple[str, ...] = ()  # of its pictures, in the spool
    job_id: str = ""

    def as_sent(self, path_of: Callable[[str], Path]) -> list[dict[str, Any]]:
        """Return the turns as a caller would send them, pictures as data URIs. Reads files."""

        def part(its: Mapping[str, Any]) -> Mapping[str, Any]:
            if its["type"] != "image":
                return its
            content = base64.b64encode(path_of(its["blob"]).read_bytes()).decode()
            return {"type": "image_url", "image_url": {"url": f"data:;base64,{content}", "detail": its["detail"]}}

        def sent(turn: dict[str, Any]) -> dict[str, Any]:
            return {**turn, "content": [part(its) for its in turn["content"]]} if isinstance(turn["content"], list) else turn

        return [sent(turn) for turn in self.turns]


async def earlier_of(services: Services, asked: ResponseTokensRequest) -> Earlier:
    """Return what *asked* goes on from, if anything.

    Raises:
        ResponseNotFound: It names no stored response.
        InvalidRequest: The one it names has no answer.
        UnsupportedTask: That one showed pictures, and the model of this one sees none.
    """
    if asked.previous_response_id is None:
        return Earlier()
    stored = await find(services.gateway, asked.previous_response_id, param=_PARAM)
    if stored.blobs:
        try:
            services.catalog.resolve(asked.model, Task.VISION)
        except UnsupportedTask as error:
            error.param = "model"
            raise
    return Earlier(tuple(await stored.turns(services.gateway)), stored.blobs, stored.job.id)


async def going_on(services: Services, job: NewJob, asked: ResponseRequest, chat: Chat, earlier: Earlier) -> NewJob:
    """Return *job* with all that it answers, holding the pictures of what it goes on from too."""
    try:
        if earlier.blobs:
            await services.gateway.past(earlier.job_id, lambda jobs: jobs.hold(earlier.blobs, holder=job.id))
    except (FileNotFoundError, JobNotFound):  # deleted at this moment
        await services.gateway.drop(holder=job.id)
        raise ResponseNotFound(str(asked.previous_response_id), param=_PARAM) from None
    messages = with_instructions(asked.instructions, [*earlier.turns, *job.request["messages"]])
    changes = {
        "request": {**job.request, "messages": messages, NOTES: chat.notes},
        "blobs": tuple(dict.fromkeys([*job.blobs, *earlier.blobs])),
        "stored": asked.store is not False,
    }
    return job.model_copy(update=changes)
