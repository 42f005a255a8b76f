"""One job, several works: the answers that a request asks for, each drawn by itself.

Choice 0 is drawn with the job's seed, every other with one mixed from it, so
asking for more answers changes none, and a later attempt draws the same again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.engines.protocols import Frontend, TextWork, Work
from app.jobs.record import JobKind, Lane
from app.jobs.requests import prompts_of
from app.jobs.rescue import work_id
from app.jobs.streams import Published

if TYPE_CHECKING:
    from app.jobs.claims import Claimed

__all__ = ["answers_to_each", "works_of"]

_SEEDS = 2**63


def answers_to_each(claim: Claimed) -> int:
    """Return how many answers each of a request's prompts gets."""
    return int(claim.request.get("n") or 1) if claim.kind in {JobKind.CHAT, JobKind.COMPLETION} else 1


def works_of(claim: Claimed, request: Mapping[str, Any], frontend: Frontend, published: Mapping[int, Published]) -> Iterator[Work]:
    """Prepare the work of every choice, in order: all answers to the first prompt, then all to the next.

    Args:
        claim: The job.
        request: What it asks of the model.
        frontend: Of its model.
        published: What earlier attempts have published, by choice.

    Raises:
        InferenceError: What :meth:`Frontend.prepare` raises.
    """
    n = answers_to_each(claim)
    requests = [request]
    if claim.kind is JobKind.COMPLETION:
        requests = [{**request, "prompt": prompt} for prompt in prompts_of(request["prompt"])]
    for number, one in enumerate(requests):
        first = number * n
        ids = published[first].ids if first in published else ()
        name = work_id(claim.id, claim.attempt, first)
        work = frontend.prepare(name, claim.kind, one, seed=claim.seed, published=ids, alone=claim.suspect)
        work = replace(work, patient=claim.lane is Lane.BATCH)
        yield work if first == 0 else _another(work, first)
        for choice in range(first + 1, first + n):
            if isinstance(work, TextWork):
                ids = published[choice].ids if choice in published else ()
                yield _another(replace(work, id=work_id(claim.id, claim.attempt, choice), published=tuple(ids)), choice)


def _another(work: Work, choice: int) -> Work:
    if not isinstance(work, TextWork):
        return work
    digest = hashlib.sha256(f"{work.sampling.seed} {choice}".encode()).digest()
    return replace(work, extra=True, sampling=replace(work.sampling, seed=int.from_bytes(digest[:8], "little") % _SEEDS))
