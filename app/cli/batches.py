"""``mlx-local batch``: files of requests, answered by the server: run, listed, shown, cancelled.

A batch belongs to the server: Ctrl-C leaves it, and it goes on. The same command finds it again by the content of the file,
also when it has ended meanwhile, and writes its results.
"""

from __future__ import annotations

import urllib.parse
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import terminal

__all__ = ["app"]

app = typer.Typer(help="Have files of requests answered, as OpenAI's batches.", no_args_is_help=True)

BatchId = Annotated[str, typer.Argument(help="Id of the batch.", metavar="BATCH")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="JSON Lines: each a request with custom_id, method, url and body.", metavar="FILE")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where answers go; unset: FILE.output.jsonl, beside it.")] = None,
    errors: Annotated[
        Path | None, typer.Option("--errors", help="Where lines go that were not answered; unset: FILE.errors.jsonl.")
    ] = None,
    window: Annotated[str, typer.Option("--window", help="When the batch expires, from now: 90m, 24h, 7d.")] = "24h",
    *,
    again: Annotated[bool, typer.Option("--again", help="Have all of it answered anew, whatever an earlier batch of it did.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have the requests of a file answered, with progress; a batch of the same file is gone on with. Exit code 1 if a line failed.

    Ctrl-C leaves the batch to the server; the same command follows it again.
    """
    from app.cli import batch_run

    settings = terminal.settings()
    wanted = batch_run.targets(file, output, errors, force=force)
    batch = batch_run.follow(settings, batch_run.begin(settings, file, window, again=again), file, quiet=as_json)
    written = batch_run.fetch(settings, batch, wanted)
    if as_json:
        terminal.print_json(batch)
    else:
        counts = batch["request_counts"]
        terminal.say(f"{batch['id']} is {batch['status']}: {counts['completed']} of {counts['total']} lines were answered.")
        for path in written:
            terminal.say(str(path))
    batch_run.judge(batch)


@app.command("list")
def list_batches(
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 20,
    after: Annotated[str | None, typer.Option(help="Only batches made before this one: the last of the page before.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List batches, newest first."""
    from rich.table import Table

    from app.cli import api_client

    page = api_client.get(terminal.settings(), f"/v1/batches?limit={limit}{f'&after={urllib.parse.quote(after)}' if after else ''}")["data"]
    if as_json:
        terminal.print_json(page)
        return
    if not page:
        terminal.say("No batches.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("BATCH", "ENDPOINT", "STATUS", "DONE", "FAILED", "LINES", "CREATED"):
        table.add_column(heading, no_wrap=heading == "BATCH", overflow="fold")
    for one in page:
        counts = one["request_counts"]
        done = counts["completed"] + counts["failed"]
        row = (one["id"], one["endpoint"], one["status"], done, counts["failed"], counts["total"], _local(one["created_at"]))
        table.add_row(*(str(value) for value in row))
    terminal.console().print(table)


@app.command()
def show(batch_id: BatchId, *, as_json: AsJson = False) -> None:
    """Show one batch: how far it is, what is wrong with its file, where its results are."""
    from app.cli import api_client

    _print(api_client.get(terminal.settings(), _path(batch_id)), as_json=as_json)


@app.command()
def cancel(batch_id: BatchId, *, as_json: AsJson = False) -> None:
    """Cancel a batch; what was answered is still written. One that has ended stays as it is."""
    from app.cli import api_client

    _print(api_client.post(terminal.settings(), f"{_path(batch_id)}/cancel", {}), as_json=as_json)


def _path(batch_id: str) -> str:
    return f"/v1/batches/{urllib.parse.quote(batch_id, safe='')}"


def _print(batch: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        terminal.print_json(batch)
        return
    counts = batch["request_counts"]
    facts = {
        "id": batch["id"],
        "endpoint": batch["endpoint"],
        "model": batch["model"],
        "status": batch["status"],
        "lines": f"{counts['completed']} answered, {counts['failed']} failed, of {counts['total']}" if counts["total"] else None,
        "created": _local(batch["created_at"]),
        "expires": _local(batch["expires_at"]),
        "input": batch["input_file_id"],
        "output": batch["output_file_id"],
        "errors": batch["error_file_id"],
    }
    for name, value in facts.items():
        if value:
            terminal.say(f"{name:<12} {value}")
    for error in (batch["errors"] or {}).get("data", ()):
        terminal.say(f"{'line ' + str(error['line']) if error['line'] else 'file':<12} {error['code']}: {error['message']}")


def _local(moment: int | None) -> str:
    return datetime.fromtimestamp(moment, UTC).astimezone().isoformat(sep=" ", timespec="seconds") if moment else ""
