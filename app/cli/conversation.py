"""``mlx-local chat`` on a terminal without a prompt: a conversation, turn by turn.

The conversation lives in this process alone; what was typed is kept as the
line editor's history, in the home and for this user alone. Ctrl-C stops an
answer, which hangs up and so cancels its job; what was written of it stays.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from app.cli.terminal import CommandError, say, show

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

__all__ = ["HISTORY", "converse", "line_history"]

HISTORY = "chat_history"
"""File of the home that keeps what was typed."""

_KEPT_LINES = 1000
_PROMPT = ">>> "
_WORDS = {
    "/reset": "forget the conversation and begin anew",
    "/exit": "leave, as Ctrl-D does",
    "/help": "this list",
}


def converse(
    answer: Callable[[Mapping[str, Any]], Generator[str]],
    body: Mapping[str, Any],
    *,
    system: str | None,
) -> None:
    """Read turns from the terminal and print their answers, until Ctrl-D or ``/exit``.

    Args:
        answer: Sends a request body and yields the answer's pieces; closing it early hangs up.
        body: Model and options of every request.
        system: The system message that every conversation begins with.
    """
    begin: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
    messages = list(begin)
    say(f"Talking to {body['model']}. Ctrl-C stops an answer, Ctrl-D ends; /help says more.")
    while (text := _read()) is not None:
        word = text.strip()
        if not word:
            continue
        if word == "/exit":
            return
        if word == "/reset":
            messages = list(begin)
            say("Forgotten.")
        elif word in _WORDS or (word.startswith("/") and " " not in word and "/" not in word[1:]):
            for name, meaning in _WORDS.items():
                say(f"{name:<8}{meaning}")
        else:
            messages = _turn(answer, body, [*messages, {"role": "user", "content": text}])


def _read() -> str | None:
    """Return what was typed, nothing after Ctrl-C, None at the end."""
    try:
        return input(_PROMPT)
    except KeyboardInterrupt:
        say()
        return ""
    except EOFError:
        say()
        return None


def _turn(
    answer: Callable[[Mapping[str, Any]], Generator[str]], body: Mapping[str, Any], messages: list[dict[str, str]]
) -> list[dict[str, str]]:
    """Print the answer to *messages*; return the conversation with it, or without the last question if there was none."""
    written: list[str] = []
    pieces = answer({**body, "messages": messages})
    try:
        for piece in pieces:
            written.append(piece)
            show(piece)
    except KeyboardInterrupt:
        pieces.close()  # hangs up
        sys.stdout.write(" (stopped)")
    except CommandError as error:
        say(("\n" if written else "") + error.message)
        return messages[:-1]
    say()
    return [*messages, {"role": "assistant", "content": "".join(written)}] if written else messages[:-1]


@contextmanager
def line_history(home: Path) -> Iterator[None]:
    """Let the line editor know what was typed before, and keep what is typed now; without a home it just edits."""
    import readline

    path = home / HISTORY
    with contextlib.suppress(OSError):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        path.chmod(0o600)
        readline.read_history_file(path)
    readline.set_history_length(_KEPT_LINES)
    before = os.umask(0o077)  # the library writes a new file and renames it
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(path)
            path.chmod(0o600)
        os.umask(before)
