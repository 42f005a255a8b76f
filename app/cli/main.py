"""The command ``mlx-local``: its table of commands, and how it fails.

Every failure is a sentence on stderr and an exit code: 1 failed, 2 wrong
usage or a wrong setting, 3 the server is not running, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from app.cli import (
    api_keys,
    batches,
    captioning,
    doctor,
    entry,
    inference,
    installing,
    jobs,
    logs,
    models,
    purging,
    reading,
    restarting,
    speaking,
    status,
    stop,
    terminal,
    transcribing,
    up,
    webhooks,
)
from app.cli.terminal import FAILED, NOT_RUNNING, USAGE, CommandError
from app.errors import InferenceError, InvalidSetting, StoreUnavailable

__all__ = ["app", "main"]

_INTERRUPTED = 130
_CODES = {InvalidSetting: USAGE, StoreUnavailable: NOT_RUNNING}

_WORDS = {"Value error, ": "", "Input should be": "it must be", "greater than or equal to": "at least", "less than or equal to": "at most"}


class _Commands(TyperGroup):
    """The table of commands, which says in our words what is wrong with a value: Typer says it in pydantic's."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - whatever a command returns
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            for theirs, ours in _WORDS.items():
                error.message = error.message.replace(theirs, ours)
            raise


app = typer.Typer(
    cls=_Commands,
    name="mlx-local",
    help="Local AI inference on MLX, as durable jobs behind OpenAI's API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUN = "Run"
_ASK = "Ask"
_ENTRY = "Entry points, one process each (for launchd and systemd)"

app.command(rich_help_panel=_RUN)(up.up)
app.command(rich_help_panel=_RUN)(stop.stop)
app.command(rich_help_panel=_RUN)(restarting.restart)
app.command(rich_help_panel=_RUN)(status.status)
app.command(rich_help_panel=_RUN)(doctor.doctor)
app.command(rich_help_panel=_RUN)(logs.logs)
app.command(rich_help_panel=_RUN)(installing.install)
app.command(rich_help_panel=_RUN)(installing.uninstall)
app.command(rich_help_panel=_RUN)(purging.purge)
app.add_typer(jobs.app, name="jobs", rich_help_panel=_RUN)
app.add_typer(models.app, name="models", rich_help_panel=_RUN)
app.add_typer(api_keys.app, name="keys", rich_help_panel=_RUN)
app.add_typer(webhooks.app, name="webhooks", rich_help_panel=_RUN)
app.command(rich_help_panel=_ASK)(inference.chat)
app.command(rich_help_panel=_ASK)(inference.embed)
app.command(rich_help_panel=_ASK)(captioning.caption)
app.command(rich_help_panel=_ASK)(transcribing.transcribe)
app.command(rich_help_panel=_ASK)(reading.ocr)
app.command(rich_help_panel=_ASK)(speaking.speak)
app.add_typer(batches.app, name="batch", rich_help_panel=_ASK)
app.command(rich_help_panel=_ENTRY)(entry.redis)
app.command(rich_help_panel=_ENTRY)(entry.api)
app.command(rich_help_panel=_ENTRY)(entry.audio)
app.command(rich_help_panel=_ENTRY)(entry.worker)
app.command(rich_help_panel=_ENTRY)(entry.daemon)


@app.callback(invoke_without_command=True)
def options(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print all versions.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --version: print JSON. For a command, put --json after it.")] = False,
) -> None:
    """Local AI inference on MLX, as durable jobs behind OpenAI's API."""
    if version:
        _print_versions(as_json=as_json)
        raise typer.Exit
    if as_json:
        msg = "--json stands after the command that it is for, as in `mlx-local status --json`."
        raise CommandError(msg, USAGE)


def _print_versions(*, as_json: bool) -> None:
    from app.cli.versions import versions

    if as_json:
        terminal.print_json(versions())
        return
    for name, version in versions().items():
        terminal.say(f"{name:<15}{version or 'not installed'}")


def main() -> int:
    """Run the command line.

    Returns:
        The exit code. Usage errors exit from within Typer, with code 2.
    """
    try:
        app(prog_name="mlx-local")
    except SystemExit as end:
        return _flushed(end.code if isinstance(end.code, int) else int(end.code is not None))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except CommandError as error:
        return _fail(error.message, error.exit_code)
    except InferenceError as error:
        return _fail(error.message, _CODES.get(type(error), FAILED))
    except BrokenPipeError:
        return _quiet_stdout(FAILED)
    except Exception as error:  # noqa: BLE001 - the process boundary: whoever typed a command gets a sentence, not a traceback
        if os.environ.get("MLX_LOCAL_LOG_LEVEL") == "debug":
            traceback.print_exc()
        return _fail(f"{type(error).__name__}: {error} (MLX_LOCAL_LOG_LEVEL=debug prints where).", FAILED)
    return _flushed(0)


def _fail(message: str, code: int) -> int:
    sys.stderr.write(message + "\n")
    return code


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _quiet_stdout(code or FAILED)
    return code


def _quiet_stdout(code: int) -> int:
    """Keep the interpreter from complaining at its end that the reader of a pipe has left (``mlx-local ... | head``)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


if __name__ == "__main__":
    sys.exit(main())
