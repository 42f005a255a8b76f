"""What the dashboard knows at one moment, and the one watcher of each process that finds it out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.api.dashboard.figures import WINDOW_S, Figures, figures_of
from app.api.dashboard.folders import Folders, folders_of
from app.api.dashboard.timeline import Drawing, Timeline
from app.folder_state import recordings_standing
from app.jobs.memory_log import read_memory_log
from app.jobs.moves_log import Ended, latest_move, read_ended
from app.jobs.overview import Overview, look

if TYPE_CHECKING:
    from app.jobs.reading import JobReader
    from app.settings import Settings

__all__ = ["Moment", "Watcher"]

_ENDED_KEPT = 3000


@dataclass(frozen=True, slots=True)
class Moment:
    """All that is shown of no job in particular. None: not known, because the store has not answered yet."""

    overview: Overview | None = None
    figures: Figures | None = None
    drawing: Drawing | None = None
    folders: Folders = field(default_factory=Folders)
    latest: str = ""  # of the log of moves
    away: bool = False  # the store does not answer; the rest is as it was last seen


class Watcher:
    """Looks at the store, and remembers what only changes. For one call at a time.

    Args:
        settings: Say where the daemon's file is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ended: deque[Ended] = deque(maxlen=_ENDED_KEPT)
        self._ended_after: str | None = None
        self._timeline = Timeline()
        self._changes_after = "0-0"

    def look(self, reader: JobReader) -> Moment:
        """Return what is to be seen now.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        latest = latest_move(reader.client)
        # Changes before workers: whoever tells of one lives by then.
        changes = read_memory_log(reader.client, self._changes_after)
        overview = look(reader)
        since = read_ended(reader, self._ended_after)
        self._ended_after = since.latest
        self._ended.extend(since.jobs)
        while self._ended and self._ended[0].finished_at < overview.at - WINDOW_S:
            self._ended.popleft()
        self._timeline.add(changes)
        if changes:
            self._changes_after = changes[-1].id
        self._timeline.note_alive({worker.id for worker in overview.workers}, overview.at)
        return Moment(
            overview=overview,
            figures=figures_of(self._ended, overview.at),
            drawing=self._timeline.draw(overview.at),
            folders=folders_of(recordings_standing(self._settings)),
            latest=latest,
        )
