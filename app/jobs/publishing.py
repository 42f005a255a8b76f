"""What running jobs publish: tokens, sound, and how far they are. Each piece carries its claim's token, and is refused without it."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from app.jobs.reading import JobReader
from app.jobs.record import Progress
from app.jobs.streams import Piece, SoundPiece

if TYPE_CHECKING:
    from app.jobs.moves import Moves

__all__ = ["Publisher"]


class Publisher(JobReader):
    """The publishing part of the job store."""

    moves: Moves

    def publish_tokens(self, pieces: Iterable[Piece]) -> list[str]:
        """Append tokens of running jobs in one round trip.

        Returns:
            Ids of the jobs that are no longer ours: cancelled, or rescued from us.
        """
        batch = list(pieces)
        pipe = self.client.pipeline(transaction=False)
        for piece in batch:
            self.moves.queue(pipe, "publish", {"id": piece.job_id, "token": piece.token, **piece.fields()}, piece.text)
        return self._stale(pipe, [piece.job_id for piece in batch])

    def publish_sound(self, pieces: Iterable[tuple[str, str, SoundPiece]]) -> list[str]:
        """Append sound to running jobs, given as job, claim token and piece; otherwise as :meth:`publish_tokens`."""
        batch = list(pieces)
        pipe = self.client.pipeline(transaction=False)
        for job_id, token, piece in batch:
            facts = {"id": job_id, "token": token, **piece.model_dump()}
            self.moves.queue(pipe, "publish", facts, base64.b64encode(piece.pcm).decode())  # what reads streams reads text
        return self._stale(pipe, [entry[0] for entry in batch])

    def publish_progress(self, claims: Iterable[tuple[str, str, Progress]]) -> list[str]:
        """Record how far running jobs are; otherwise as :meth:`publish_tokens`."""
        batch = list(claims)
        pipe = self.client.pipeline(transaction=False)
        for job_id, token, progress in batch:
            self.moves.queue(pipe, "publish", {"id": job_id, "token": token, "announce_progress": True, **progress.model_dump()})
        return self._stale(pipe, [entry[0] for entry in batch])

    def _stale(self, pipe: Any, ids: list[str]) -> list[str]:  # noqa: ANN401 - a redis pipeline
        return [job_id for job_id, said in zip(ids, self.moves.execute(pipe), strict=True) if said[0] == "stale"]
