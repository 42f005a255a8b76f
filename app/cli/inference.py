"""``mlx-local chat`` and ``mlx-local embed``: requests over HTTP, the answer on stdout."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from collections.abc import Generator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import terminal
from app.cli.completion import model_names
from app.cli.showing import picture_part
from app.cli.terminal import USAGE, CommandError

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["chat", "embed", "piped"]

Model = Annotated[
    str | None, typer.Option("--model", "-m", help="Name of a model or role; unset: the role's default.", autocompletion=model_names)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's whole answer as JSON.")]


def chat(
    prompt: Annotated[list[str] | None, typer.Argument(help="What to ask. Text piped in is put after it.")] = None,
    model: Model = None,
    system: Annotated[str | None, typer.Option("--system", "-s", help="System message.")] = None,
    images: Annotated[list[Path] | None, typer.Option("--image", "-i", help="A picture to ask about; may be given several times.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, max=2.0, help="0 is greedy.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    *,
    think: Annotated[bool, typer.Option("--think", help="Let a model that can think do so first; the thought is shown dimmed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the chat model; the answer is printed as it is written. On a terminal, without a prompt: a conversation."""
    settings = terminal.settings()
    options = {"temperature": temperature, "max_tokens": max_tokens, "enable_thinking": think or None}
    body: dict[str, Any] = {"model": model or "chat", **{name: value for name, value in options.items() if value is not None}}
    if not prompt and not images and not as_json and sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty():
        from app.cli.conversation import converse, line_history

        with line_history(settings.home):
            converse(partial(_pieces, settings), body, system=system)
        return
    text = "\n\n".join(part for part in (" ".join(prompt or ()), piped(wanted=not prompt)) if part)
    if not text.strip():
        msg = 'Say what to ask: mlx-local chat "What is the capital of France?", or pipe text into it.'
        raise CommandError(msg, USAGE)
    content = [*map(picture_part, images), {"type": "text", "text": text}] if images else text
    body["messages"] = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": content}]
    if as_json:
        from app.cli import api_client

        terminal.print_json(api_client.post(settings, "/v1/chat/completions", body))
        return
    written = ""
    try:
        for written in _pieces(settings, body):
            terminal.show(written)
    finally:
        if written and not written.endswith("\n"):
            terminal.say()  # whoever reads a pipe may have left: that must not hide why we end


def embed(
    text: Annotated[list[str] | None, typer.Argument(help="Texts to embed; none: each line piped in.")] = None,
    model: Model = None,
    dimensions: Annotated[int | None, typer.Option(min=1, help="Length of the vectors, where the model allows it.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Turn texts into vectors; each is printed as a line of JSON."""
    settings = terminal.settings()
    texts = list(text or ()) or [line for line in piped(wanted=True).splitlines() if line.strip()]
    if not texts:
        msg = 'Say what to embed: mlx-local embed "a cat sat on the mat", or pipe lines into it.'
        raise CommandError(msg, USAGE)
    body: dict[str, Any] = {"model": model or "embedding", "input": texts, "encoding_format": "float"}
    if dimensions is not None:
        body["dimensions"] = dimensions
    from app.cli import api_client

    answer = api_client.post(settings, "/v1/embeddings", body)
    if as_json:
        terminal.print_json(answer)
        return
    for row in sorted(answer["data"], key=lambda row: int(row["index"])):
        sys.stdout.write(json.dumps(row["embedding"]) + "\n")


def _pieces(settings: Settings, body: Mapping[str, Any]) -> Generator[str]:
    """Ask for a chat completion and yield its text as it is written. Closing this early hangs up."""
    from app.cli import api_client

    with contextlib.closing(api_client.stream(settings, "/v1/chat/completions", {**body, "stream": True})) as events:
        thinks = False
        for event in events:
            for choice in event.get("choices") or []:
                delta = choice.get("delta", {})
                if thought := delta.get("reasoning_content"):
                    thinks = True
                    terminal.show_thought(thought)
                if piece := delta.get("content"):
                    if thinks:
                        terminal.show_thought("\n\n")
                    thinks = False
                    yield piece


def piped(*, wanted: bool) -> str:
    """Return what was piped or redirected into the command.

    Beside a prompt only a pipe or a file is read: a program that runs the command may have left
    it a socket or a device that never ends. Where nothing else was given (*wanted*), all but a terminal.
    """
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return ""
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if not (wanted or stat.S_ISFIFO(mode) or stat.S_ISREG(mode)):
        return ""
    try:
        return sys.stdin.buffer.read().decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        msg = "What was piped in is not UTF-8 text."
        raise CommandError(msg, USAGE) from None
