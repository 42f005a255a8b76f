"""``mlx-local speak``: a text said by the speech model, into a file, a pipe or the loudspeaker."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from app.cli import terminal
from app.cli.completion import model_names
from app.cli.inference import piped
from app.cli.new_file import check_writable, new_file
from app.cli.terminal import USAGE, CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.settings import Settings

__all__ = ["SoundFormat", "speak"]


class SoundFormat(StrEnum):
    """What sound is written as; also the suffix of its file."""

    MP3 = "mp3"
    OPUS = "opus"
    AAC = "aac"
    FLAC = "flac"
    WAV = "wav"
    PCM = "pcm"


_SUFFIXES = {**{f".{form}": form for form in SoundFormat}, ".ogg": SoundFormat.OPUS, ".wave": SoundFormat.WAV}


def speak(
    text: Annotated[list[str] | None, typer.Argument(help="What to say; none: what is piped in.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File; its suffix says the format. - is stdout.")] = None,
    form: Annotated[SoundFormat | None, typer.Option("--format", "-f", help="Where no suffix says it; mp3 then.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Name of a model or role; unset: the role tts.", autocompletion=model_names)
    ] = None,
    voice: Annotated[str | None, typer.Option("--voice", "-v", help="Who says it; --voices lists them.")] = None,
    instructions: Annotated[str | None, typer.Option("--instructions", help="How it is to be said.")] = None,
    language: Annotated[str | None, typer.Option("--language", "-l", help="A code or a name; unset: as the text is.")] = None,
    speed: Annotated[float | None, typer.Option(min=0.25, max=4.0, help="2 is twice as fast; the pitch stays.")] = None,
    *,
    voices: Annotated[bool, typer.Option("--voices", help="List the voices and say nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Say a text: into a file (-o), into a pipe, or, on a terminal, aloud."""
    settings = terminal.settings()
    if voices:
        _list_voices(settings, model)
        return
    to_stdout = output == Path("-") or (output is None and not sys.stdout.isatty())
    form = _format(None if to_stdout else output, form)
    if output is not None and not to_stdout:
        check_writable(output, force=force)
    said = " ".join(text or ()) or piped(wanted=True)
    if not said.strip():
        msg = 'Say what to say: mlx-local speak "Hello." -o hello.mp3, or pipe text into it.'
        raise CommandError(msg, USAGE)
    asked = {"model": model or "tts", "input": said, "voice": voice, "instructions": instructions, "language": language, "speed": speed}
    body = {name: value for name, value in asked.items() if value is not None}
    if to_stdout:
        _send(settings, body, form, sys.stdout.buffer)
    elif output is not None:
        with new_file(output) as file:
            _send(settings, body, form, file)
        terminal.say(str(output))
    else:
        _say_aloud(settings, body)


def _format(output: Path | None, form: SoundFormat | None) -> SoundFormat:
    if form is not None or output is None:
        return form or SoundFormat.MP3
    found = _SUFFIXES.get(output.suffix.lower())
    if found is None:
        msg = f"{output.name} does not say which format to write: end it with {', '.join(_SUFFIXES)}, or give --format."
        raise CommandError(msg, USAGE)
    return found


def _send(settings: Settings, body: Mapping[str, Any], form: SoundFormat, out: IO[bytes]) -> None:
    """Write the sound to *out* as it comes. A wav of our own tells its length when it is whole."""
    from app.audio.encoding import tell_length
    from app.cli import api_client

    with contextlib.closing(api_client.fetch(settings, "/v1/audio/speech", {**body, "response_format": form})) as pieces:
        for piece in pieces:
            out.write(piece)
            out.flush()
    if form is SoundFormat.WAV and out is not sys.stdout.buffer:
        tell_length(out)


def _say_aloud(settings: Settings, body: Mapping[str, Any]) -> None:
    from app.machine import sound_player

    player = sound_player()
    if player is None:
        msg = "No program that plays sound was found: write it to a file with -o."
        raise CommandError(msg, USAGE)
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        _send(settings, body, SoundFormat.WAV, file)
        file.flush()
        if subprocess.run([*player, file.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
            msg = f"{player[0]} could not play it: write it to a file with -o."
            raise CommandError(msg)


def _list_voices(settings: Settings, model: str | None) -> None:
    from urllib.parse import urlencode

    from rich.table import Table

    from app.cli import api_client

    found = api_client.get(settings, "/v1/audio/voices" + (f"?{urlencode({'model': model})}" if model else ""))["data"]
    if not found:
        terminal.say("No model of the catalog speaks.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("VOICE", "MODEL", "STANDS FOR"):
        table.add_column(heading)
    for one in found:
        table.add_row(one["id"], one["model"], one["stands_for"] or "")
    terminal.console().print(table)
