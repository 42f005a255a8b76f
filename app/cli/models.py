"""``mlx-local models``: what the catalog knows, what is on this machine, what is in memory; and getting it there, or away.

``list`` and ``pull`` do without the server; memory is the server's, and so is what may be removed while others use it.
"""

from __future__ import annotations

import urllib.parse
from typing import Annotated, Any

import typer

from app.cli import terminal
from app.cli.completion import model_names
from app.cli.store_access import job_store
from app.cli.terminal import NOT_RUNNING, USAGE, CommandError

__all__ = ["app"]

app = typer.Typer(help="See, download, load, unload and remove models.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Any name of the catalog, or a role.", autocompletion=model_names)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def models() -> None:
    """See, download, load, unload and remove models."""


@app.command("list")
def list_models(*, as_json: AsJson = False) -> None:
    """List the models of the catalog: roles, size on this machine, memory that a load needs, state in memory."""
    rows = _rows()
    if as_json:
        terminal.print_json(rows)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("MODEL", "TASKS", "ROLES", "ON DISK", "NEEDS", "IN MEMORY", "FROM"):
        table.add_column(heading, no_wrap=heading == "MODEL", overflow="fold")
    for row in rows:
        disk = f"{row['disk_bytes'] / 1e9:.1f} GB" if row["downloaded"] else "-"
        needs = f"{row['need_bytes'] / 1e9:.1f} GB" if row["need_bytes"] else "-"
        table.add_row(row["id"], " ".join(row["tasks"]), " ".join(row["roles"]), disk, needs, row["state"] or "-", row["repo"])
    terminal.console().print(table)


@app.command("pull")
def pull(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Models: any names of the catalog, or repositories of the hub.", metavar="NAME...", autocompletion=model_names),
    ] = None,
    *,
    defaults: Annotated[bool, typer.Option("--defaults", help="Every model that has a role in the profile.")] = False,
    as_json: AsJson = False,
) -> None:
    """Download models, with progress; a repository of the hub that the catalog lacks is added to it."""
    from app.cli import pulling
    from app.models.catalog import load_catalog

    settings = terminal.settings()
    catalog = load_catalog(settings)
    wanted = [*(names or ()), *(pulling.defaults(settings, catalog, quiet=as_json) if defaults else ())]
    if not wanted and not defaults:
        msg = "Name a model: `mlx-local models list` has those of the catalog; or ask for --defaults."
        raise CommandError(msg, USAGE)
    pulling.pull(settings, catalog, wanted, as_json=as_json)


@app.command("load")
def load(
    name: Name,
    *,
    keep_alive: Annotated[str | None, typer.Option(help="How long it stays: seconds or 10m; -1: until it is unloaded.")] = None,
    as_json: AsJson = False,
) -> None:
    """Have the server load a model into memory; beside others, or in place of those that nobody uses."""
    found = _move(name, "load", {} if keep_alive is None else {"keep_alive": keep_alive})
    _report(found, done=found["resident"], what="in memory", as_json=as_json)


@app.command("unload")
def unload(name: Name, *, as_json: AsJson = False) -> None:
    """Have the server unload a model that no job uses. The next request for it loads it again."""
    found = _move(name, "unload", {})
    _report(found, done=not found["resident"], what="out of memory", as_json=as_json)


@app.command("remove")
def remove(name: Name, *, as_json: AsJson = False) -> None:
    """Have the server remove a model's files from the disk, the hub's cache included. The catalog keeps the model."""
    from app.cli import api_client

    removed = api_client.delete(terminal.settings(), f"/v1/models/{_in_path(name)}")
    if as_json:
        terminal.print_json(removed)
    else:
        terminal.say(f"The files of {removed['id']} are removed: {removed['freed_bytes'] / 1e9:.2f} GB.")


def _move(name: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
    from app.cli import api_client

    return api_client.post(terminal.settings(), f"/v1/models/{_in_path(name)}/{what}", body)


def _in_path(name: str) -> str:
    """Return *name* as a part of an address: a name of the hub keeps its slash, any other character is harmless."""
    return urllib.parse.quote(name)


def _report(found: dict[str, Any], *, done: bool, what: str, as_json: bool) -> None:
    """Say where a model is now; that it is not there yet is a failure of the command, though not of the wish."""
    if as_json:
        terminal.print_json(found)
    elif done:
        size = f", {found['bytes'] / 1e9:.2f} GB" if found["bytes"] else ""
        terminal.say(f"{found['id']} is {what}{size}.")
    if not done:
        why = found["detail"] or "`mlx-local status` says what runs."
        msg = f"{found['id']} is not {what} yet; the server still sees to it. {why}"
        raise CommandError(msg)


def _rows() -> list[dict[str, Any]]:
    from app.models.catalog import load_catalog
    from app.models.hub import locate
    from app.models.sizes import sizes_of

    settings = terminal.settings()
    catalog = load_catalog(settings)
    states = {}
    try:
        with job_store(settings) as store:
            states = store.model_states()
    except CommandError as error:
        if error.exit_code != NOT_RUNNING:  # the catalog and the disk can be read all the same
            raise
    rows = []
    for spec in catalog:
        directory = locate(spec, settings)
        sizes = sizes_of(spec, directory)
        state = states.get(spec.id)
        rows.append(
            {
                "id": spec.id,
                "repo": spec.repo,
                "tasks": [task.value for task in spec.tasks],
                "aliases": list(spec.aliases),
                "roles": [role for role, model_id in catalog.roles.items() if model_id == spec.id],
                "downloaded": directory is not None,
                "directory": str(directory) if directory else None,
                "state": state.state if state else None,
                "bytes": state.bytes if state and state.bytes else None,
                "need_bytes": sizes.need_bytes or None,
                "disk_bytes": sizes.disk_bytes,
            }
        )
    return rows
