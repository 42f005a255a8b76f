"""``mlx-local purge``: removes what was asked and answered, from Redis and its file, the spool, the daemon's memory, our history."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import terminal
from app.cli.store_access import job_store
from app.cli.terminal import FAILED, USAGE, CommandError, say

if TYPE_CHECKING:
    from app.jobs.store import JobStore
    from app.settings import Settings

__all__ = ["purge"]

_REWRITE_S = 120.0


def purge(
    older_than: Annotated[str, typer.Option(help="Only what ended, or was uploaded, longer ago: 90s, 12h, 7d.", metavar="AGE")] = "0",
    *,
    everything: Annotated[bool, typer.Option("--all", help="Cancel jobs that wait or run, and remove them too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove prompts, answers, stored responses, uploaded files and copies of recordings. Your own folders stay as they are."""
    age_s = _seconds(older_than)
    if everything and age_s:
        msg = "--all takes everything, whatever its age; leave out --older-than."
        raise CommandError(msg, USAGE)
    settings = terminal.settings()
    if settings.api_url:
        msg = "This home is that of a worker for another machine, which has the jobs and the files: say `mlx-local purge` there."
        raise CommandError(msg, USAGE)
    with job_store(settings) as store:
        if not yes:
            _ask(store, age_s, everything=everything)
        facts = _remove(settings, store, age_s, everything=everything)
    if as_json:
        terminal.print_json(facts)
    else:
        cancelled = f", {facts['cancelled']} of which were cancelled first" if facts["cancelled"] else ""
        say(f"Jobs removed: {facts['jobs']}{cancelled}. Uploaded files: {facts['files']}. All that was asked and answered went with them.")
    if not facts["journal"]:
        msg = "The append-only file of Redis has not been written anew yet, and may still hold what was removed; run this again."
        raise CommandError(msg, FAILED)
    if not facts["transcripts"]:
        raise typer.Exit(FAILED)
    if settings.redis_url and not as_json:
        say("Your Redis keeps what was removed in its append-only file until it is rewritten (BGREWRITEAOF), and in its snapshots.")


def _remove(settings: Settings, store: JobStore, age_s: float, *, everything: bool) -> dict[str, int | bool]:
    from app.cli.conversation import HISTORY
    from app.cli.entry import forget_transcripts
    from app.jobs import purge

    cancelled = purge.cancel_all(store) if everything else 0
    removed = purge.purge(store, age_s)
    # Of a Redis of the user's own the files are the user's.
    journal = settings.redis_url is not None or purge.rewrite_journal(store.client, _REWRITE_S)
    transcripts = forget_transcripts(age_s)
    if not age_s:
        (settings.home / HISTORY).unlink(missing_ok=True)
    return {"cancelled": cancelled, **removed._asdict(), "journal": journal, "transcripts": transcripts}


def _ask(store: JobStore, age_s: float, *, everything: bool) -> None:
    from app.jobs.purge import count_old
    from app.jobs.record import JobState

    found, states = count_old(store, age_s), store.count_by_state()
    more = f" Cancelled and removed too: {states[JobState.QUEUED] + states[JobState.RUNNING]} that wait or run." if everything else ""
    question = f"{found.jobs} ended jobs and {found.files} uploaded files would be removed for good.{more}"
    if not sys.stdin.isatty():
        msg = f"{question} Say --yes to do it."
        raise CommandError(msg, USAGE)
    if not typer.confirm(f"{question} Go on?"):
        raise typer.Exit(FAILED)


def _seconds(age: str) -> float:
    from app.setting_values import parse_duration

    try:
        return parse_duration(age).total_seconds()
    except ValueError as error:
        msg = f"--older-than {error} (got {age!r})"
        raise CommandError(msg, USAGE) from None
