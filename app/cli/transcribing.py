"""``mlx-local transcribe``: a job for each recording, its progress on a terminal, the transcript beside the file or on stdout.

Every answer is asked for as ``verbose_json``, from which the other formats are made here.
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
from app.cli.entry import retry_failed
from app.cli.file_jobs import between, check_targets, do_each, output_of_file, targets_of
from app.cli.new_file import new_file
from app.cli.terminal import USAGE, CommandError

if TYPE_CHECKING:
    from app.jobs.record import Progress

__all__ = ["Format", "transcribe"]


_STDOUT = typer.Option("--stdout", help="Print the transcripts, each under its file's name where there are several, and write no files.")
_RETRY = typer.Option("--retry", help="Have what failed in the transcribe folder tried again: FILE..., or all of it; does nothing else.")


class Format(StrEnum):
    """What a transcript is written as; also the suffix of its file."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


def transcribe(
    files: Annotated[list[Path] | None, typer.Argument(help="Recordings, or videos; - is what is piped in.", metavar="FILE...")] = None,
    formats: Annotated[
        list[Format] | None, typer.Option("--format", "-f", help="txt where nothing is said; may be given several times.")
    ] = None,
    folder: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the transcripts, instead of beside each file.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Name of a model or role; unset: the role asr.", autocompletion=model_names)
    ] = None,
    language: Annotated[str | None, typer.Option("--language", "-l", help="What is spoken: a code or a name; unset: heard.")] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="What it is about: names and style are taken from it.")] = None,
    hotwords: Annotated[list[str] | None, typer.Option("--hotword", help="A word likely to be said; may be given several times.")] = None,
    *,
    translate: Annotated[bool, typer.Option("--translate", help="Write it in English, whatever is spoken.")] = False,
    words: Annotated[bool, typer.Option("--words", help="With -f json: when each word is said.")] = False,
    to_stdout: Annotated[bool, _STDOUT] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace transcripts that are there.")] = False,
    retry: Annotated[bool, _RETRY] = False,
) -> None:
    """Write down what is said in recordings: NAME.txt beside each, or on stdout. Exit code 1 if one of them failed."""
    settings = terminal.settings()
    if retry:
        retry_failed(files or [])
    wanted = list(dict.fromkeys(formats or [Format.TXT]))
    _check_usage(
        (not files, "Name at least one recording; `mlx-local transcribe --help` says more."),
        (to_stdout and (folder is not None or len(wanted) > 1), "--stdout takes one format and no --output."),
        (words and Format.JSON not in wanted, "--words are told in JSON alone: add -f json."),
        (translate and (words or language), "--translate goes with neither --words nor --language."),
    )
    asked = {
        "response_format": "verbose_json",
        "model": model,
        "language": language,
        "prompt": prompt,
        "hotwords": hotwords,
        "timestamp_granularities": ["segment", "word"] if words else None,
    }
    request = {name: value for name, value in asked.items() if value}
    kind = "translation" if translate else "transcription"
    targets = targets_of(files or [], [] if to_stdout else wanted, folder)
    check_targets(targets, force=force)

    def write_down(file: Path) -> None:
        answer = output_of_file(settings, file, kind, request, _told)
        _write(answer, file, targets[file] or wanted[0], between(file, list(targets), wanted[0]))

    do_each(list(targets), write_down, "recordings were not written down")


def _check_usage(*wrongs: tuple[object, str]) -> None:
    """Refuse the first of what is wrong, with its sentence."""
    for wrong, sentence in wrongs:
        if wrong:
            raise CommandError(sentence, USAGE)


def _write(answer: Mapping[str, Any], file: Path, where: Mapping[str, Path] | Format, before: str) -> None:
    """Write what was heard of *file* into a file for each format, or print it in one, behind what comes *before*."""
    for warning in answer.get("warnings") or ():
        sys.stderr.write(f"{file}: {warning}\n")
    if isinstance(where, Format):
        terminal.show(before + _rendered(answer, where))
        return
    for form, target in where.items():
        with new_file(target) as out:
            out.write(_rendered(answer, Format(form)).encode())
        terminal.say(str(target))


def _rendered(answer: Mapping[str, Any], form: Format) -> str:
    from app.audio.subtitles import Segment, srt, vtt

    if form is Format.TXT:
        return str(answer["text"]) + "\n"
    if form is Format.JSON:
        return json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
    segments = [Segment(one["start"], one["end"], one["text"]) for one in answer["segments"]]
    return (srt if form is Format.SRT else vtt)(segments)


def _told(progress: Progress) -> str:
    return f"{_clock(progress.done)} of {_clock(progress.total or 0)}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"  # noqa: PLR2004 - of an hour
