"""What kinds of work there are, by version: so that a worker of an older version is not given work that it does not know.

Whoever adds a kind of job, or a field of a request that changes what the answer
is, adds it to :data:`CHANGES` with the next version. A job that uses it says in
its record that it ``needs`` that version, a claim says which one its worker
speaks, and the claim is refused where that is too little: the job waits for
another worker. A field that an older worker may leave out without harm needs
no version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from app.jobs.record import JobKind

__all__ = ["CHANGES", "WORK_VERSION", "Change", "needed_version", "spoken_version"]


class Change(NamedTuple):
    """Something that workers had to learn."""

    version: int
    kinds: frozenset[JobKind]
    field: str | None = None  # of the request; None: the kinds themselves are new


CHANGES: Final[tuple[Change, ...]] = ()
"""All that came after version 1, which has everything that was there when versions began."""


def spoken_version(changes: Sequence[Change] = CHANGES) -> int:
    """Return the version of a worker that knows all these."""
    return max((change.version for change in changes), default=1)


WORK_VERSION: Final = spoken_version()
"""What this software's workers speak."""


def needed_version(kind: JobKind, request: Mapping[str, Any], changes: Sequence[Change] = CHANGES) -> int:
    """Return the version that a worker must speak to do a job."""
    used = [change for change in changes if kind in change.kinds and (change.field is None or request.get(change.field) is not None)]
    return spoken_version(used)
