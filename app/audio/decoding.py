"""Decode any recording into a pcm file, or say why not. The work is done by a child (:mod:`app.audio.decoder`).

Promises: memory does not grow with the length of the recording; nothing is
left at the target when decoding fails; a file that crashes, hangs or bloats
the decoder costs the child and nobody else; what is told to users are
sentences without paths. A recording whose end is missing is refused, because
its transcript would lose the end without a word; silence is fine.

Does not find speech, and keeps no time stamps of the container: a gap in it is
closed, a track that begins late begins at 0.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import psutil

from app.errors import InferenceError

__all__ = ["Decoded", "DecodingStopped", "Probed", "UnreadableAudio", "decode", "probe"]

_LOOK_EVERY_S = 0.05
_MOST_BYTES = 768 * 1024**2  # the child's memory: about 90 MiB are Python, numpy and ffmpeg, a long mp4's table of frames may be 100
_STALL_S = 60.0
_PROBE_S = 20.0


class UnreadableAudio(InferenceError):
    """A file is no recording that can be used, or not whole."""

    code = "unreadable_audio"

    def __init__(self, reason: str) -> None:
        super().__init__(reason, param="file")


class DecodingStopped(Exception):
    """The caller's ``should_stop`` said so."""


class Probed(NamedTuple):
    """What a file says of itself. Nothing of it is proven."""

    container: str
    codec: str
    channels: int
    rate_hz: int
    duration_s: float | None  # None where the container does not tell


class Decoded(NamedTuple):
    """A recording that was decoded to its end."""

    container: str
    codec: str
    channels: int
    rate_hz: int
    duration_s: float  # of what was written


def probe(source: Path) -> Probed:
    """Return what the recording at *source* says of itself, without decoding it. Takes a fraction of a second.

    Raises:
        UnreadableAudio: It is none, has no sound, or is visibly cut off.
        OSError: *source* cannot be read.
    """
    return Probed(**_run(["probe", str(source)], _never, None, _PROBE_S))


def decode(
    source: Path,
    target: Path,
    *,
    longest_s: float,
    should_stop: Callable[[], bool],
    tell: Callable[[float], None] | None = None,
    stall_s: float = _STALL_S,
) -> Decoded:
    """Write the sound of *source* to *target* as a pcm file (:mod:`app.audio.pcm`).

    Args:
        source: Any container, whatever its name.
        target: Is written anew, and removed when this raises.
        longest_s: A longer recording is refused. At most so much is ever written.
        should_stop: Asked about 20 times a second.
        tell: Is told how many seconds are done, at most a few times a second.
        stall_s: A file at which nothing more comes for so long is refused.

    Raises:
        UnreadableAudio: The file cannot be used, or not all of it.
        DecodingStopped: *should_stop* said so.
        OSError: *source* cannot be read, or *target* cannot be written, as when the disk is full.
    """
    try:
        return Decoded(**_run(["decode", str(source), str(target), repr(longest_s)], should_stop, tell, stall_s))
    except BaseException:  # whatever it was, half a file must not stay
        target.unlink(missing_ok=True)
        raise


def _never() -> bool:
    return False


def _run(arguments: list[str], should_stop: Callable[[], bool], tell: Callable[[float], None] | None, stall_s: float) -> dict[str, Any]:
    """Run the child and return its result; whatever happens, it is gone afterwards."""
    command = [sys.executable, "-P", "-m", "app.audio.decoder", *arguments]
    # Standard input would be the terminal's or the supervisor's. One thread: OpenBLAS has nothing to do there but reserve memory.
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, process_group=0
    ) as child:
        try:
            for said in _lines(child, should_stop, stall_s):
                if "done_s" in said and tell:
                    tell(said["done_s"])
                elif "refused" in said:
                    raise UnreadableAudio(said["refused"])
                elif "errno" in said:
                    raise OSError(said["errno"], os.strerror(said["errno"]))
                elif "result" in said:
                    result: dict[str, Any] = said["result"]
                    return result
            ended_by = child.wait(stall_s)
        finally:
            child.kill()
        if ended_by < 0:
            msg = "The decoder fails at this file; it is probably damaged. Convert it to wav or flac and send that."
            raise UnreadableAudio(msg)
        msg = f"the decoder ended with {ended_by} and no word"
        raise RuntimeError(msg)


def _lines(child: subprocess.Popen[bytes], should_stop: Callable[[], bool], stall_s: float) -> Iterator[dict[str, Any]]:
    """Yield what *child* says, and watch it meanwhile: the caller's wish, its memory, and whether it gets on."""
    assert child.stdout  # noqa: S101 - for the type checker: it is a pipe
    watched = psutil.Process(child.pid)
    furthest: tuple[float, int] = (0.0, 0)
    moved_at_s = time.monotonic()
    for line in _wait_for_lines(child.stdout):
        if should_stop():
            raise DecodingStopped
        if _memory_bytes(watched) > _MOST_BYTES:
            msg = "The decoder takes absurdly much memory for this file; it is probably damaged or made to do harm."
            raise UnreadableAudio(msg)
        if line is not None:
            said: dict[str, Any] = json.loads(line)
            yield said
            now = (float(said.get("done_s", 0.0)), int(said.get("read_bytes", 0)))
            if now[0] > furthest[0] or now[1] > furthest[1]:
                furthest = (max(now[0], furthest[0]), max(now[1], furthest[1]))
                moved_at_s = time.monotonic()
        if time.monotonic() - moved_at_s > stall_s:
            msg = f"The decoder got no further with this file for {stall_s:.0f} s; it is probably damaged."
            raise UnreadableAudio(msg)


def _wait_for_lines(pipe: IO[bytes]) -> Iterator[bytes | None]:
    """Yield each line as it comes, None where none came for a moment; end with the pipe."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(_LOOK_EVERY_S):
                yield None
                continue
            piece = os.read(pipe.fileno(), 65_536)
            if not piece:
                return
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines


def _memory_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0  # it has just ended
