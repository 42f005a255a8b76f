"""``mlx-local models``: what the catalog knows, what is on this machine, what is in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import terminal
from app.cli.store_access import job_store
from app.cli.terminal import NOT_RUNNING, USAGE, CommandError

__all__ = ["app"]

app = typer.Typer(help="See the models of the catalog.", no_args_is_help=True)


@app.callback()
def models() -> None:
    """See the models of the catalog."""


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


@app.command("pull", hidden=True)
def pull(name: Annotated[str, typer.Argument(help="Name of a model: of the catalog, or of the hub.")]) -> None:
    """Say how to get a model's files: errors name this command, and this version does not download by itself."""
    from app.errors import NoModelForRole, UnknownModel
    from app.models.catalog import load_catalog
    from app.models.hub import locate

    settings = terminal.settings()
    catalog = load_catalog(settings)
    try:
        spec = catalog.find(name)
    except (UnknownModel, NoModelForRole):
        if "/" not in name:
            raise
        msg = (
            f"This version does not download by itself. `hf download {name}` does; then give it an id and its tasks in the file of"
            " MLX_LOCAL_CATALOG (README.md shows one) and start again."
        )
        raise CommandError(msg, USAGE) from None
    if locate(spec, settings) is not None:
        terminal.say(f"The files of {spec.id} are on this machine.")
        return
    if Path(spec.repo).is_absolute():
        msg = f"{spec.id} is the folder {spec.repo} of the catalog; put its files there."
        raise CommandError(msg)
    msg = f"This version does not download by itself. `hf download {spec.repo}` does, and {spec.id} is then found."
    raise CommandError(msg, USAGE)


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
