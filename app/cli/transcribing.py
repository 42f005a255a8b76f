"""``mlx-local transcribe``: a job for each recording, its progress on a terminal, the transcript beside the file or on stdout.

Every answer is asked for as ``verbose_json``, from which the other formats are made here.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from app.cli import terminal
from app.cli.completion import model_names
from app.cli.interrupts import interrupted_after
from app.cli.new_file import check_writable, new_file
from app.cli.terminal import NOT_RUNNING, USAGE, CommandError

if TYPE_CHECKING:
    from app.jobs.record import Job
    from app.settings import Settings

__all__ = ["Format", "transcribe"]

_STDIN = Path("-")
Tell = Callable[["Job"], None]


class Format(StrEnum):
    """What a transcript is written as; also the suffix of its file."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Recordings, or videos; - is what is piped in.", metavar="FILE...")],
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
    to_stdout: Annotated[bool, typer.Option("--stdout", help="Print the transcripts and write no files.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace transcripts that are there.")] = False,
) -> None:
    """Write down what is said in recordings: NAME.txt beside each, or on stdout. Exit code 1 if one of them failed."""
    settings = terminal.settings()
    wanted = list(dict.fromkeys(formats or [Format.TXT]))
    for wrong, sentence in (
        (to_stdout and (folder is not None or len(wanted) > 1), "--stdout takes one format and no --output."),
        (words and Format.JSON not in wanted, "--words are told in JSON alone: add -f json."),
        (translate and (words or language), "--translate goes with neither --words nor --language."),
    ):
        if wrong:
            raise CommandError(sentence, USAGE)
    asked = {
        "response_format": "verbose_json",
        "model": model,
        "language": language,
        "prompt": prompt,
        "hotwords": hotwords,
        "timestamp_granularities": ["segment", "word"] if words else None,
    }
    targets = {file: {} if to_stdout or file == _STDIN else _targets(file, wanted, folder) for file in dict.fromkeys(files)}
    _check(targets, force=force)
    request = {name: value for name, value in asked.items() if value}
    _transcribe(settings, targets, wanted[0], "translation" if translate else "transcription", request)


def _transcribe(
    settings: Settings, targets: Mapping[Path, Mapping[Format, Path]], shown: Format, kind: str, request: Mapping[str, Any]
) -> None:
    """Write down one recording after the other; one that fails keeps none from being heard."""
    failed = 0
    for file, written in targets.items():
        try:
            _write(_heard(settings, file, kind, request), file, written or shown)
        except CommandError as error:
            if error.exit_code == NOT_RUNNING or len(targets) == 1:
                raise
            failed += 1
            sys.stderr.write(f"{file}: {error.message}\n")
    if failed:
        msg = f"{failed} of {len(targets)} recordings were not written down."
        raise CommandError(msg)


def _targets(file: Path, wanted: Sequence[Format], folder: Path | None) -> dict[Format, Path]:
    return {form: (folder or file.parent) / f"{file.stem}.{form}" for form in wanted}


def _check(targets: Mapping[Path, Mapping[Format, Path]], *, force: bool) -> None:
    """See that every recording is there and every transcript can be written, before anything is heard."""
    whose: dict[Path, Path] = {}
    for file, written in targets.items():
        if file != _STDIN and not file.is_file():
            msg = f"{file} is a folder: name the files in it." if file.is_dir() else f"{file} does not exist."
            raise CommandError(msg, USAGE)
        for target in written.values():
            other = whose.setdefault(target, file)
            if other != file:
                msg = f"{other} and {file} would both be written down as {target}: take one at a time, with --output."
                raise CommandError(msg, USAGE)
            if target.resolve() == file.resolve():
                msg = f"{file} would be written over."
                raise CommandError(msg, USAGE)
            check_writable(target, force=force)


def _write(answer: Mapping[str, Any], file: Path, where: Mapping[Format, Path] | Format) -> None:
    """Write what was heard of *file* into a file for each format, or print it in one."""
    for warning in answer.get("warnings") or ():
        sys.stderr.write(f"{file}: {warning}\n")
    if isinstance(where, Format):
        sys.stdout.write(_rendered(answer, where))
        sys.stdout.flush()
        return
    for form, target in where.items():
        with new_file(target) as out:
            out.write(_rendered(answer, form).encode())
        terminal.say(str(target))


def _rendered(answer: Mapping[str, Any], form: Format) -> str:
    from app.audio.subtitles import Segment, srt, vtt

    if form is Format.TXT:
        return str(answer["text"]) + "\n"
    if form is Format.JSON:
        return json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
    segments = [Segment(one["start"], one["end"], one["text"]) for one in answer["segments"]]
    return (srt if form is Format.SRT else vtt)(segments)


def _heard(settings: Settings, file: Path, kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Submit one recording, follow its job, and return what came of it. Ctrl-C cancels the job."""
    from app.cli import api_client
    from app.cli.store_access import job_store
    from app.cli.watching import watch_one
    from app.jobs.record import JobState

    with _opened(file) as content, interrupted_after() as interrupted:
        fields = {"kind": kind, "lane": "interactive", "request": json.dumps(request)}
        job_id = str(api_client.send_file(settings, "/v1/jobs", fields, file.name, content)["id"])
    with job_store(settings) as store:
        try:
            if interrupted:
                signal.raise_signal(signal.SIGINT)
            with _progress(file.name) as tell:
                job = watch_one(store, job_id, lambda job, _: tell(job))
        except KeyboardInterrupt:
            store.cancel(job_id)
            raise
    if job.state is not JobState.SUCCEEDED:
        raise CommandError(job.error.message if job.error else f"Its job, {job_id}, is {job.state}.")
    return api_client.get(settings, f"/v1/jobs/{job_id}/output")


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """Open a file. What is piped in is kept in one without a name, because a form is sent from its beginning."""
    if file != _STDIN:
        try:
            with file.open("rb") as content:
                yield content
        except OSError as error:
            raise CommandError(error.strerror or str(error)) from None
        return
    if sys.stdin is None or sys.stdin.isatty():
        msg = "Nothing is piped in."
        raise CommandError(msg, USAGE)
    with tempfile.TemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.seek(0)
        yield kept


@contextmanager
def _progress(name: str) -> Iterator[Tell]:
    """Draw a bar on a terminal's stderr, of seconds of the recording; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as progress:
        task = progress.add_task(escape(name), total=None, told="")

        def tell(job: Job) -> None:
            if job.waiting_for is not None:
                progress.update(task, told=escape(job.waiting_for.detail))
            elif job.progress is not None:
                done, total = job.progress.done, job.progress.total
                progress.update(task, completed=done, total=total or None, told=f"{_clock(done)} of {_clock(total)}" if total else "")
            else:
                progress.update(task, told=job.state)

        yield tell


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"  # noqa: PLR2004 - of an hour
