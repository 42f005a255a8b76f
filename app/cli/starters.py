"""The first fetch of the starter models: a progress bar on a terminal, a line for each stage elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from app.cli.terminal import console, say, say_nothing
from app.errors import DownloadFailed

if TYPE_CHECKING:
    from app.models.catalog import Catalog
    from app.models.starter import StarterProgress
    from app.settings import Settings

__all__ = ["fetch_starters", "showing_starters"]

_STAGES = {"waiting": "waits for another process", "download": "download", "convert": "convert", "ready": "ready"}


def fetch_starters(settings: Settings, catalog: Catalog, *, quiet: bool = False) -> None:
    """Fetch the starter models that the profile's roles need and that are not here.

    A fetch that fails is told and does not keep the rest from starting: other
    models may be here, and the next ``up`` or ``install`` tries again.
    """
    from app.models.starter import ensure_starters, missing_starters

    missing = missing_starters(settings, catalog)
    if not missing:
        return
    tell_line = say_nothing if quiet else say
    tell_line(f"Fetching the starter models, once: {', '.join(starter.model_id for starter in missing)}.")
    try:
        with showing_starters(quiet=quiet) as tell:
            ensure_starters(settings, catalog, tell)
    except DownloadFailed as error:
        tell_line(f"Not fetched: {error.message}")
        tell_line("Everything else starts; the next `mlx-local up` or `install` tries again.")


@contextmanager
def showing_starters(*, quiet: bool = False) -> Iterator[Callable[[StarterProgress], None]]:
    """Show what is told of the starter models as this terminal can; *quiet*: nothing."""
    if quiet:
        yield lambda _: None
        return
    with _bars() if sys.stdout.isatty() else _lines() as tell:
        yield tell


@contextmanager
def _bars() -> Iterator[Callable[[StarterProgress], None]]:
    """Show a bar for each model and stage."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console()) as progress:
        tasks: dict[str, tuple[str, int]] = {}

        def tell(now: StarterProgress) -> None:
            if tasks.get(now.model_id, ("", 0))[0] != now.stage:
                if now.model_id in tasks:
                    progress.remove_task(tasks[now.model_id][1])  # type: ignore[arg-type]  # rich's TaskID is an int
                tasks[now.model_id] = now.stage, progress.add_task(f"{now.model_id}: {_STAGES[now.stage]}", total=now.total_bytes)
            progress.update(tasks[now.model_id][1], completed=now.done_bytes, total=now.total_bytes)  # type: ignore[arg-type]

        yield tell


@contextmanager
def _lines() -> Iterator[Callable[[StarterProgress], None]]:
    """Print a line for each stage of each model."""
    last: list[tuple[str, str]] = []

    def tell(now: StarterProgress) -> None:
        if last[-1:] != [(now.model_id, now.stage)]:
            last.append((now.model_id, now.stage))
            say(f"  {now.model_id}: {_STAGES[now.stage]}" + (f" ({now.total_bytes / 1e6:.0f} MB)" if now.stage == "download" else ""))

    yield tell
