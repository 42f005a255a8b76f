"""The starter's half: a child that works on one file is started, watched, and gone afterwards, whatever happens.

Promises: a file that crashes, hangs or bloats the child costs the child and
nobody else; the child has nothing of our environment but what Python needs,
and ends with the process that started it; what is told to users are sentences
without paths.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import psutil

__all__ = ["Stopped", "Trade", "Unusable", "run_apart"]

_LOOK_EVERY_S = 0.05
_ENVIRONMENT = (
    *("PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ"),
)


class Stopped(Exception):
    """The caller's ``should_stop`` said so."""


class Unusable(Exception):
    """The file cannot be used; the message is a sentence for its owner."""


class Trade(NamedTuple):
    """What children do, and how it is spoken of."""

    module: str  # is run; its ``main`` calls :func:`app.apart.child.serve`
    who: str  # "renderer"
    what: str  # "document"
    advice: str  # to one whose file makes the child fail
    most_bytes: int  # of memory


def run_apart(trade: Trade, words: Sequence[str], *, should_stop: Callable[[], bool], patience_s: float) -> dict[str, Any]:
    """Run a child and return its result.

    Args:
        trade: What it does.
        words: What it is asked.
        should_stop: Asked about 20 times a second.
        patience_s: A file that takes longer is refused.

    Raises:
        Unusable: The child refuses the file, or fails at it.
        Stopped: *should_stop* said so.
        OSError: As the child met it, such as a full disk.
    """
    command = [sys.executable, "-P", "-m", trade.module, f"{patience_s:.0f}", *words]
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # Standard input stays open and silent: its end tells the child that this process has died. OpenBLAS has nothing to do
    # there but reserve memory.
    environment["OPENBLAS_NUM_THREADS"] = "1"
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, process_group=0) as child:
        try:
            ended_by = _watch(child, trade, should_stop, patience_s)
            assert child.stdout  # noqa: S101 - for the type checker: it is a pipe
            said: dict[str, Any] = json.loads(child.stdout.read() or "{}")
        finally:
            child.kill()
    if "result" in said:
        result: dict[str, Any] = said["result"]
        return result
    if "refused" in said:
        raise Unusable(said["refused"])
    if "errno" in said:
        raise OSError(said["errno"], os.strerror(said["errno"]))
    if ended_by < 0:
        msg = f"The {trade.who} fails at this {trade.what}; it is probably damaged. {trade.advice}"
        raise Unusable(msg)
    msg = f"the {trade.who} ended with {ended_by} and no word"
    raise RuntimeError(msg)


def _watch(child: subprocess.Popen[bytes], trade: Trade, should_stop: Callable[[], bool], patience_s: float) -> int:
    """Return how *child* ended; watch it meanwhile: the caller's wish, its memory, and its time. What it says fits its pipe."""
    watched = psutil.Process(child.pid)
    begun_s = time.monotonic()
    while True:
        try:
            return child.wait(_LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            pass
        if should_stop():
            raise Stopped
        if _memory_bytes(watched) > trade.most_bytes:
            msg = f"The {trade.who} takes absurdly much memory for this {trade.what}; it is probably damaged or made to do harm."
            raise Unusable(msg)
        if time.monotonic() - begun_s > patience_s:
            why = "it is too long, or damaged, or made to do harm"
            msg = f"The {trade.who} was not done with this {trade.what} within {patience_s:.0f} s; {why}."
            raise Unusable(msg)


def _memory_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0  # it has just ended
