"""The child's half: bounded by the system, ended with its starter, one JSON object on standard output."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Refused", "serve"]

_MOST_ADDRESSES_BYTES = 4 * 1024**3


class Refused(Exception):
    """A file cannot be used; the message is a sentence for its owner, and names no path."""


def serve(
    arguments: Sequence[str], answer: Callable[[Sequence[str]], dict[str, Any]], *, what: str, written_bytes: int, threads: int = 1
) -> None:
    """Do what :func:`app.apart.watching.run_apart` asks, and end this process.

    Args:
        arguments: Of the command line.
        answer: Does the work that the words ask for; may raise :class:`Refused` and OSError.
        what: It is about, in a word.
        written_bytes: No file that is written may be larger.
        threads: That work at once, each of them for as long as the starter's patience.
    """
    seconds, *words = arguments
    _end_with_starter()
    _limit(threads * int(seconds) + 1, written_bytes)
    sys.stdout.write(json.dumps(_said(answer, words, what)))
    sys.stdout.flush()
    os._exit(0)  # without tearing down: a library in C may crash at that, and the thread below still reads


def _said(answer: Callable[[Sequence[str]], dict[str, Any]], words: Sequence[str], what: str) -> dict[str, Any]:
    try:
        return {"result": answer(words)}
    except Refused as reason:
        return {"refused": str(reason)}
    except MemoryError:
        return {"refused": f"The {what} needs more memory than one may take; it is probably damaged or made to do harm."}
    except OSError as error:
        return {"errno": error.errno or 0}


def _end_with_starter() -> None:
    """End this process when the one that started it is gone: then standard input ends."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            os.read(sys.stdin.fileno(), 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _limit(seconds: int, written_bytes: int) -> None:
    """Bound what the watcher cannot see in time."""
    limits = {resource.RLIMIT_CPU: seconds, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: written_bytes}
    if sys.platform == "linux":  # macOS does not keep to it
        limits[resource.RLIMIT_AS] = _MOST_ADDRESSES_BYTES
    for which, most in limits.items():
        _, hard = resource.getrlimit(which)
        resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
