"""How many tokens a chat has: asked of the worker, which alone has tokenizers, by a job of kind ``count``."""

from __future__ import annotations

import json

from fastapi import Request

from app.api.calls import new_job, output_of, submit
from app.api.deadline import deadline_of
from app.api.hang_up import attached, while_wanted
from app.api.services import Services
from app.jobs.record import JobKind, Lane

__all__ = ["count_tokens"]


async def count_tokens(request: Request, services: Services, chat_body: object) -> int:
    """Return the tokens that the prompt of a chat has: template, pictures and all, exactly as its answer's usage would say.

    No weights are loaded for that, and a conversation may be longer than the context. What the body says of the answer is
    checked and does not matter.

    Args:
        request: Of the caller, whose hanging up ends the job; its body has been read.
        services: Of this process.
        chat_body: A body of ``POST /v1/chat/completions``.

    Raises:
        InvalidRequest: The body is not a chat's, or the model's template refuses it.
        UnknownModel: Likewise NoModelForRole, UnsupportedTask, ModelNotDownloaded: nothing is downloaded only to count.
        JobFailed: With what the worker says, ModelNotDownloaded for one.
        ClientHungUp: The caller has gone.
        ServerStopping: This process stops.
    """
    late = deadline_of(request)
    job = await new_job(services, JobKind.COUNT, chat_body, lane=Lane.INTERACTIVE, waited=True, key=None, deadline=late)
    job_id = await submit(request, job, services.gateway)
    async with attached(services, job_id) as waiter:
        await while_wanted(waiter.done(), request.receive, services.stopping)
    output = await output_of(services.gateway, job_id)
    return int(json.loads(output.content)["input_tokens"])
