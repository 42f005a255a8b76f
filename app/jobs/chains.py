"""Parents and children: one job that is done as many.

A worker that holds the claim of a job may :meth:`~Chains.plan` children for
it. The parent gives its claim back and stays running; when its children have
ended, its next step is due and is claimed like any job. What happens to
children and when is in ``chains.lua``; nothing is announced before it is
recorded, and everything may be repeated.
"""

from __future__ import annotations

import json
import secrets
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

from pydantic import BaseModel, Field

from app.errors import Failure, JobNotFound
from app.jobs import keys
from app.jobs.connection import store_errors
from app.jobs.record import Job, JobKind, JobState, Lane
from app.jobs.work import needed_version

if TYPE_CHECKING:
    from app.jobs.claims import Claimed
    from app.jobs.store import JobStore

__all__ = ["MAX_CHILDREN", "Chains", "Child", "Children", "EndedChild", "Plan"]

MAX_CHILDREN = 2000  # of one plan: Redis does nothing else for about 0.1 s while it records them, or cancels them
_PAGE = 100
_FIELDS = ("id", "state", "error", "usage", "output", "blob")


class Child(BaseModel, frozen=True):
    """A job to be done for a parent. It has the parent's lane and deadline."""

    kind: JobKind
    model: str = Field(description="Canonical id of the catalog.")
    request: dict[str, Any]
    blobs: tuple[str, ...] = Field((), description="What it reads in the spool. The parent holds it for all its children.")
    units: Annotated[int, Field(ge=0)] = Field(1, description="What its end adds to the parent's progress.")
    seed: int | None = Field(None, description="None: one is drawn. A replay of the plan draws none anew.")


class Plan(BaseModel, frozen=True):
    """What a parent's children are, and what comes after them."""

    children: Annotated[tuple[Child, ...], Field(min_length=1, max_length=MAX_CHILDREN)]
    window: Annotated[int, Field(ge=1)] = Field(4, description="Children that may wait or run at a time; others pass between them.")
    step: str = Field("join", description="The parent's step when all have ended; it may plan more children.")
    on_failure: Literal["fail", "keep"] = Field("fail", description="fail: a child that does not succeed fails the parent.")
    unit: str = Field("parts", description="Of progress.")
    total: int | None = Field(None, description="Of progress, where later steps will add to it; none: what has been planned so far.")
    stage: str | None = Field(None, description="Of progress, which is counted anew where it is another than the step before had.")
    follows: bool = Field(default=False, description="Its one child, which may be a parent itself, tells how far it is.")


class EndedChild(NamedTuple):
    """What came of one child."""

    id: str
    number: int
    state: JobState
    error: Failure | None
    usage: dict[str, Any] | None
    output: bytes | None  # JSON; of one that succeeded


class Chains:
    """Parents and children of one job store. Synchronous and thread-safe."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def plan(self, claim: Claimed, plan: Plan) -> bool:
        """Record the children of a claimed job, let the first ones in, and give the claim back.

        Numbers go on where those of an earlier step ended.

        Returns:
            Whether the plan stands: False where the claim holds no longer, and then nothing was recorded.

        Raises:
            FileNotFoundError: A child needs a blob that is not there.
        """
        for blob in dict.fromkeys(blob for child in plan.children for blob in child.blobs):
            self._store.spool.hold(blob, holder=claim.id)
        facts = plan.model_dump(include={"window", "step", "on_failure", "unit", "total", "stage", "follows"})
        children = [self._facts(child, claim.lane) for child in plan.children]
        arguments = {"id": claim.id, "token": claim.token, "queue": keys.CHAINS, **facts}
        return bool(self._store.moves("plan", arguments, json.dumps(children, ensure_ascii=False))[0] == "planned")

    @staticmethod
    def _facts(child: Child, lane: Lane) -> dict[str, Any]:
        needs = needed_version(child.kind, child.request)
        facts = {
            "kind": child.kind,
            "model": child.model,
            "lane": lane,
            "queue": keys.queue_of(child.kind, child.model, lane),
            "request": json.dumps(child.request, ensure_ascii=False, separators=(",", ":")),
            "blobs": json.dumps(child.blobs) if child.blobs else None,
            "units": child.units,
            "needs": needs if needs > 1 else None,
            "seed": str(secrets.randbits(62) if child.seed is None else child.seed),
        }
        return {name: fact for name, fact in facts.items() if fact is not None}

    def children(self, parent: str) -> Children:
        """Return the children that a parent has had so far.

        Raises:
            JobNotFound: There is no such parent.
        """
        return Children(self._store, parent, self._count(parent))

    def _count(self, parent: str) -> int:
        with store_errors():
            known, count = cast("list[str | None]", self._store.client.hmget(keys.job(parent), ["id", "children"]))
        if known is None:
            raise JobNotFound(parent)
        return int(count or 0)

    def _numbers(self, parent: str) -> Sequence[int]:
        """Return the numbers of the children that there are: of a batch, the lines that are jobs at present."""
        count = self._count(parent)
        if count:
            return range(count)
        with store_errors():
            return [int(number) for number in cast("list[str]", self._store.client.zrange(keys.batch(parent, "lines"), 0, -1))]

    def list_children(
        self,
        parent: str,
        *,
        state: JobState | None = None,
        kind: JobKind | None = None,
        model: str | None = None,
        lane: Lane | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> list[Job]:
        """Return a parent's children in their order, outputs left out; otherwise as :meth:`JobReader.list_jobs`.

        Raises:
            JobNotFound: There is no such parent, or *after* is no child of it.
        """
        numbers, first = self._numbers(parent), 0
        if after is not None:
            of, _, number = after.rpartition(".")
            if of != parent or not (number.isascii() and number.isdecimal()):
                raise JobNotFound(after)
            first = int(number) + 1
        found: list[Job] = []
        start = bisect_left(numbers, first)
        while start < len(numbers) and len(found) < limit:
            ids = [keys.child(parent, number) for number in numbers[start : start + _PAGE]]
            start += _PAGE
            page = self._store.find_many(ids).values()
            wanted = (job for job in page if state in {None, job.state} and kind in {None, job.kind} and lane in {None, job.lane})
            found += [job for job in wanted if model in {None, job.model}]
        return found[:limit]


class Children(Sequence[EndedChild]):
    """What came of a parent's children, in order, read from the store a hundred at a time."""

    def __init__(self, store: JobStore, parent: str, count: int) -> None:
        self._store = store
        self._parent = parent
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[EndedChild]:
        for start in range(0, self._count, _PAGE):
            yield from self._page(range(start, min(start + _PAGE, self._count)))

    def __getitem__(self, number: Any) -> Any:  # noqa: ANN401 - an index or a slice, as of any sequence
        numbers = range(self._count)[number]
        return self._page([numbers])[0] if isinstance(numbers, int) else self._page(numbers)

    def _page(self, numbers: Sequence[int]) -> list[EndedChild]:
        pipe = self._store.client.pipeline(transaction=False)
        for number in numbers:
            pipe.hmget(keys.job(keys.child(self._parent, number)), _FIELDS)
        with store_errors():
            rows = pipe.execute()
        return [self._child(number, dict(zip(_FIELDS, row, strict=True))) for number, row in zip(numbers, rows, strict=True)]

    def _child(self, number: int, fields: Mapping[str, str | None]) -> EndedChild:
        blob, output = fields["blob"], fields["output"]
        return EndedChild(
            id=keys.child(self._parent, number),
            number=number,
            state=JobState(str(fields["state"])),
            error=Failure.model_validate_json(fields["error"]) if fields["error"] else None,
            usage=json.loads(fields["usage"]) if fields["usage"] else None,
            output=self._store.spool.get(blob) if blob else output.encode() if output else None,
        )
