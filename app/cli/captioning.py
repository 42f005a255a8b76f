"""``mlx-local caption``: what is on each of many pictures, in a few words, printed or written beside them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import terminal
from app.cli.completion import model_names
from app.cli.new_file import new_file
from app.cli.showing import SUFFIXES, picture_part
from app.cli.terminal import NOT_RUNNING, USAGE, CommandError

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["caption"]

_PROMPT = "Describe this picture in one sentence."
_AT_ONCE = 4  # the server answers them together


def caption(
    places: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.", metavar="FILE_OR_FOLDER...")],
    prompt: Annotated[str, typer.Option("--prompt", "-p", help="What to ask about each.")] = _PROMPT,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Name of a model that sees; unset: the role chat.", autocompletion=model_names)
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest caption, in tokens.")] = 200,
    *,
    beside: Annotated[bool, typer.Option("--beside", help="Write NAME.txt beside each picture that has none yet.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --beside: replace those that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object a line.")] = False,
) -> None:
    """Say what is on pictures: a line for each, or NAME.txt beside it. Exit code 1 if one of them failed."""
    settings = terminal.settings()
    files = list(dict.fromkeys(_pictures(places)))
    if not files:
        msg = f"There is no picture: files are found by {', '.join(sorted(SUFFIXES))}."
        raise CommandError(msg, USAGE)
    if beside:
        _refuse_collisions(files)
        files = [file for file in files if force or not file.with_suffix(".txt").exists()]
    body = {"model": model or "chat", "max_tokens": max_tokens, "temperature": 0}
    failed = 0
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        told = [(file, threads.submit(_caption, settings, body, prompt, file)) for file in files]
        try:
            for file, future in told:
                try:
                    _tell(file, future.result(), beside=beside, as_json=as_json)
                except CommandError as error:
                    if error.exit_code == NOT_RUNNING or error.param == "model" or len(files) == 1:
                        raise  # what is wrong is wrong with all
                    failed += 1
                    sys.stderr.write(f"{file}: {error.message}\n")
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
    if failed:
        msg = f"{failed} of {len(files)} pictures were not described."
        raise CommandError(msg)


def _pictures(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            yield from sorted(file for file in place.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        elif place.is_file():
            yield place
        else:
            msg = f"{place} does not exist."
            raise CommandError(msg, USAGE)


def _refuse_collisions(files: Sequence[Path]) -> None:
    whose: dict[Path, Path] = {}
    for file in files:
        other = whose.setdefault(file.with_suffix(".txt"), file)
        if other != file:
            msg = f"{other} and {file} would have the same {file.with_suffix('.txt').name}: leave --beside out."
            raise CommandError(msg, USAGE)


def _caption(settings: Settings, body: dict[str, Any], prompt: str, file: Path) -> str:
    from app.cli import api_client

    content = [picture_part(file), {"type": "text", "text": prompt}]
    answer = api_client.post(settings, "/v1/chat/completions", body | {"messages": [{"role": "user", "content": content}]})
    return " ".join(str(answer["choices"][0]["message"]["content"] or "").split())


def _tell(file: Path, said: str, *, beside: bool, as_json: bool) -> None:
    if beside:
        with new_file(file.with_suffix(".txt")) as out:
            out.write(f"{said}\n".encode())
    if as_json:
        terminal.say(json.dumps({"file": str(file), "caption": said}, ensure_ascii=False))
    else:
        terminal.show(f"{file.with_suffix('.txt')}\n" if beside else f"{file}\t{said}\n")
