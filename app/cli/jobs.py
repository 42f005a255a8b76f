"""``mlx-local jobs``: see, follow, cancel and retry jobs, straight from the store."""

from __future__ import annotations

import contextlib
import json
import secrets
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import terminal
from app.cli.completion import ended_jobs, job_ids, living_jobs, model_names
from app.cli.joining import refuse_to_ask
from app.cli.store_access import job_store
from app.errors import NoModelForRole, StoreUnavailable, UnknownModel
from app.jobs.record import JSON_TYPE, Job, JobKind, JobState, Lane

if TYPE_CHECKING:
    from datetime import datetime

    from app.jobs.reading import Output
    from app.jobs.store import JobStore
    from app.settings import Settings

__all__ = ["app"]

_CHILDREN_NAMED = 4

app = typer.Typer(help="See, follow, cancel and retry jobs. Works while the API is down.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="Id of the job.", metavar="JOB", autocompletion=job_ids)]
LivingJob = Annotated[str, typer.Argument(help="Id of the job.", metavar="JOB", autocompletion=living_jobs)]
EndedJob = Annotated[str, typer.Argument(help="Id of the job.", metavar="JOB", autocompletion=ended_jobs)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_jobs(
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    kind: Annotated[JobKind | None, typer.Option(help="Only jobs of this kind.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Only jobs of this model: any name of it, or a role.", autocompletion=model_names)
    ] = None,
    lane: Annotated[Lane | None, typer.Option(help="Only jobs of this lane.")] = None,
    parent: Annotated[
        str | None, typer.Option(help="The children of this job instead, in their order.", metavar="JOB", autocompletion=job_ids)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    after: Annotated[str | None, typer.Option(help="Only jobs submitted before this one: the last of the page before.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first. Parts of a job are listed by --parent alone, deliveries of webhooks by --kind webhook."""
    from app.jobs.chains import Chains

    settings = terminal.settings()
    model_id = _model_id(settings, model) if model else None
    with job_store(settings) as store:
        look = store.list_jobs if parent is None else partial(Chains(store).list_children, parent)
        jobs = look(state=state, kind=kind, model=model_id, lane=lane, limit=limit, after=after)
    if as_json:
        terminal.print_json([job.model_dump(mode="json") for job in jobs])
        return
    if not jobs:
        terminal.say("No jobs.")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("JOB", "KIND", "MODEL", "LANE", "STATE", "CREATED", "TOOK"):
        table.add_column(heading, no_wrap=heading == "JOB", overflow="fold")
    for job in jobs:
        table.add_row(job.id, job.kind, job.model, job.lane, job.state, _local(job.created_at), _took(job))
    terminal.console().print(table)


@app.command()
def show(job_id: JobId, *, as_json: AsJson = False) -> None:
    """Show one job: where it stands, why it waits, what came of it."""
    with job_store(terminal.settings()) as store:
        job = store.get(job_id)
        output = store.output(job_id) if job.state is JobState.SUCCEEDED else None
    if as_json:
        record = job.model_dump(mode="json") | {"output": _shown(output) if output is not None else None}
        terminal.print_json(record)
        return
    for name, value in _facts(job):
        sys.stdout.write(f"{name:<12} {value}\n")
    if output is not None:
        sys.stdout.write("\n")
        shown = _shown(output)
        if isinstance(shown, str):
            sys.stdout.write(f"{shown.rstrip()}\n")
        else:
            terminal.print_json(shown)


def _shown(output: Output) -> Any:  # noqa: ANN401 - any JSON
    """Return what can be printed of an output: JSON, text, or how much there is of anything else."""
    if output.media_type == JSON_TYPE:
        return json.loads(output.content)
    if output.media_type.startswith(("text/", "application/x-subrip")):
        return output.content.decode()
    return f"{len(output.content)} bytes of {output.media_type}"


@app.command()
def cancel(job_id: LivingJob, *, as_json: AsJson = False) -> None:
    """Cancel a job, whatever it is doing, and its children with it. One that has ended stays as it is."""
    with job_store(terminal.settings()) as store:
        job = store.cancel(job_id)
    if as_json:
        terminal.print_json(job.model_dump(mode="json", exclude={"output"}))
    else:
        terminal.say(f"{job.id} is {job.state}.")


@app.command()
def retry(job_id: EndedJob, *, as_json: AsJson = False) -> None:
    """Submit the request of a job that has ended once more, as a new job."""
    settings = terminal.settings()
    refuse_to_ask(settings)  # what the request reads is held again, where the spool is
    with job_store(settings) as store:
        job = store.retry(job_id, max_queued=settings.max_queued)
        _announce(settings, store, job.id)
    if as_json:
        terminal.print_json(job.model_dump(mode="json"))
    else:
        terminal.say(f"{job.id} is {job.state}. Follow it with `mlx-local jobs watch {job.id}`.")


@app.command()
def watch(
    job_id: Annotated[
        str | None, typer.Argument(help="Id of the job; none: all that run or wait.", metavar="[JOB]", autocompletion=living_jobs)
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Follow a job to its end; exit code 1 unless it succeeded. Without a job: what runs and waits, until Ctrl-C."""
    from app.cli import watching
    from app.cli.recordings import Recordings

    settings = terminal.settings()
    recordings = Recordings(settings)
    with job_store(settings) as store:
        if job_id is None:
            if as_json:
                terminal.print_json(watching.snapshot(store, recordings))
            else:
                watching.watch_all(store, recordings)
            return
        way = watching.in_json if as_json else watching.drawn if sys.stdout.isatty() else watching.in_lines
        with way(recordings) as show:
            job = watching.watch_one(store, job_id, show)
    if job.state is not JobState.SUCCEEDED:
        raise typer.Exit(terminal.FAILED)


def _announce(settings: Settings, store: JobStore, job_id: str) -> None:
    """Announce a job that was recorded. Should that fail, the worker's reconciler does it."""
    from app.jobs.broker import Announcer, InferenceBroker

    broker = InferenceBroker(settings, broker_id=f"cli:{secrets.token_hex(8)}")
    with contextlib.closing(broker), contextlib.suppress(StoreUnavailable):
        Announcer(broker, store).announce(job_id)


def _model_id(settings: Settings, name: str) -> str:
    """Return the id that *name* means; a model that left the catalog may still have jobs."""
    from app.models.catalog import load_catalog

    try:
        return load_catalog(settings).find(name).id
    except (UnknownModel, NoModelForRole):
        return name


def _facts(job: Job) -> list[tuple[str, str]]:
    waiting = job.waiting_for
    facts: list[tuple[str, object]] = [
        ("id", job.id),
        ("kind", job.kind),
        ("model", job.model),
        ("lane", job.lane),
        ("state", job.state),
        ("waiting for", f"{waiting.reason}: {waiting.detail}" if waiting else None),
        ("starts in", terminal.about(waiting.estimate_s) if waiting else None),
        ("position", job.position),
        ("progress", job.progress),
        ("attempt", job.attempt),
        ("event", f"{job.event} of {job.about}" if job.about else None),
        ("next try", _local(job.next_try_at) if job.state is JobState.QUEUED else None),
        ("created", _local(job.created_at)),
        ("started", _local(job.started_at)),
        ("finished", _local(job.finished_at)),
        ("took", _took(job)),
        ("retry of", job.retry_of),
        ("parent", job.parent),
        ("children", _children(job)),
        ("error", f"{job.error.code}: {job.error.message}" if job.error else None),
        ("usage", json.dumps(job.usage) if job.usage else None),
    ]
    return [(name, str(value)) for name, value in facts if value not in {None, ""}]


def _children(job: Job) -> str:
    if job.child_count <= _CHILDREN_NAMED:
        return ", ".join(job.children)
    return f"{job.child_count}, {job.children[0]} to .{job.child_count - 1}; `mlx-local jobs list --parent {job.id}` lists them"


def _local(moment: datetime | None) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds") if moment else ""


def _took(job: Job) -> str:
    return f"{(job.finished_at - job.started_at).total_seconds():.1f} s" if job.started_at and job.finished_at else ""
