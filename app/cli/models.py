"""``mlx-local models``: what the catalog knows, what is on this machine, what is in memory; and getting it there."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli import terminal
from app.cli.completion import model_names
from app.cli.store_access import job_store
from app.cli.terminal import NOT_RUNNING, USAGE, CommandError

__all__ = ["app"]

app = typer.Typer(help="See and download models.", no_args_is_help=True)


@app.callback()
def models() -> None:
    """See and download models."""


@app.command("list")
def list_models(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the models of the catalog: roles, files on this machine, state in memory."""
    rows = _rows()
    if as_json:
        terminal.print_json(rows)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("MODEL", "TASKS", "ROLES", "ON DISK", "IN MEMORY", "FROM"):
        table.add_column(heading, no_wrap=heading == "MODEL", overflow="fold")
    for row in rows:
        disk = "yes" if row["downloaded"] else "no"
        table.add_row(row["id"], " ".join(row["tasks"]), " ".join(row["roles"]), disk, row["state"] or "-", row["repo"])
    terminal.console().print(table)


@app.command("pull")
def pull(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Models: any names of the catalog, or repositories of the hub.", metavar="NAME...", autocompletion=model_names),
    ] = None,
    *,
    defaults: Annotated[bool, typer.Option("--defaults", help="Every model that has a role in the profile.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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


def _rows() -> list[dict[str, Any]]:
    from app.models.catalog import load_catalog
    from app.models.hub import locate

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
            }
        )
    return rows
