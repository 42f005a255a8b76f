"""What earlier attempts at a job have published, read back from its stream, so that the next one goes on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.jobs.streams import Published, SoundPiece

if TYPE_CHECKING:
    from app.jobs.reading import JobReader

__all__ = ["published_sound", "read_published"]

_ALL = 1_000_000


def read_published(store: JobReader, job_id: str) -> dict[int, Published]:
    """Return what was published, by choice; a choice of which nothing was is not there.

    Of a speech the ids are the sentences that were published whole.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    found: dict[int, Published] = {}
    for entry in store.stream({job_id: "0-0"}, count=_ALL).get(job_id, []):
        if entry.type == "tokens":
            known = found.setdefault(entry.choice, Published.nothing())
            known.ids.extend(entry.ids)
            known.texts.append(entry.text)
            known.logprobs.extend(entry.logprobs)
            known.reasonings.append(entry.reasoning)
            known.calls.extend(entry.calls)
        elif entry.sound is not None and entry.sound.last:
            found.setdefault(0, Published.nothing()).ids.append(entry.sound.sentence)
    return found


def published_sound(store: JobReader, job_id: str) -> list[SoundPiece]:
    """Return what was said of a speech, by all attempts, in the order in which it was published.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    return [entry.sound for entry in store.stream({job_id: "0-0"}, count=_ALL).get(job_id, []) if entry.sound is not None]
