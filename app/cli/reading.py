"""``mlx-local ocr``: a job for each picture or document, its progress on a terminal, the text beside the file or on stdout.

Every answer is asked for as JSON, which holds all formats.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import terminal
from app.cli.completion import model_names
from app.cli.file_jobs import between, check_targets, do_each, output_of_file, targets_of
from app.cli.new_file import new_file
from app.cli.terminal import USAGE, CommandError

if TYPE_CHECKING:
    from app.jobs.record import Progress

__all__ = ["Format", "ocr"]


class Format(StrEnum):
    """What is written; also the suffix of its file."""

    MD = "md"
    TXT = "txt"
    JSON = "json"


class Task(StrEnum):
    """What is in a picture."""

    OCR = "ocr"
    TABLE = "table"
    FORMULA = "formula"
    CHART = "chart"


def ocr(
    files: Annotated[list[Path], typer.Argument(help="Pictures, PDFs or TIFFs; - is what is piped in.", metavar="FILE...")],
    formats: Annotated[
        list[Format] | None, typer.Option("--format", "-f", help="md where nothing is said; may be given several times.")
    ] = None,
    folder: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the texts, instead of beside each file.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Name of a model or role; unset: the role ocr.", autocompletion=model_names)
    ] = None,
    pages: Annotated[str | None, typer.Option("--pages", help="Of documents: such as 1-3,7,12-; unset: all.")] = None,
    task: Annotated[Task, typer.Option("--task", help="What is in it; ocr is text.")] = Task.OCR,
    prompt: Annotated[str | None, typer.Option("--prompt", help="Said to the model instead of the task's own words.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Of each page.")] = None,
    *,
    to_stdout: Annotated[
        bool, typer.Option("--stdout", help="Print the texts, each under its file's name where there are several, and write no files.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Read pictures and documents: NAME.md beside each, or on stdout. Exit code 1 if one of them failed."""
    settings = terminal.settings()
    wanted = list(dict.fromkeys(formats or [Format.MD]))
    if to_stdout and (folder is not None or len(wanted) > 1):
        msg = "--stdout takes one format and no --output."
        raise CommandError(msg, USAGE)
    asked = {"task": task.value, "model": model, "pages": pages, "prompt": prompt, "max_tokens": max_tokens}
    request = {name: value for name, value in asked.items() if value is not None}
    targets = targets_of(files, [] if to_stdout else wanted, folder)
    check_targets(targets, force=force)

    def read(file: Path) -> None:
        _write(
            output_of_file(settings, file, "ocr", request, _told), file, targets[file] or wanted[0], between(file, list(targets), wanted[0])
        )

    do_each(list(targets), read, "files were not read")


def _write(answer: Mapping[str, Any], file: Path, where: Mapping[str, Path] | Format, before: str) -> None:
    """Write what was read of *file* into a file for each format, or print it in one, behind what comes *before*."""
    for page in answer["pages"]:
        for warning in page["warnings"]:
            sys.stderr.write(f"{file}: {warning}\n")
    if isinstance(where, Format):
        terminal.show(before + _rendered(answer, where))
        return
    for form, target in where.items():
        with new_file(target) as out:
            out.write(_rendered(answer, Format(form)).encode())
        terminal.say(str(target))


def _rendered(answer: Mapping[str, Any], form: Format) -> str:
    if form is Format.JSON:
        return json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
    return str(answer["text" if form is Format.TXT else "markdown"]) + "\n"


def _told(progress: Progress) -> str:
    return f"{progress.done} of {progress.total} pages"
