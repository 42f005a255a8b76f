"""The frames that were taken of a video, in one file: what the spool keeps of it.

A zip of JPEGs and of the seconds at which each is seen. The same frames make the
same bytes, and so the same name in the spool, whenever they are taken.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Frames", "open_frame", "read_frames", "write_frames"]

_FACTS = "frames.json"
_QUALITY = 95  # videos have been through a lossy codec already; this adds nothing that could be seen


class Frames(NamedTuple):
    """What is known of the frames without decoding one."""

    width_px: int
    height_px: int
    times_s: tuple[float, ...]  # from the video's beginning; never falling


def write_frames(target: Path, frames: Iterable[tuple[float, Image]]) -> Frames:
    """Write *frames*, each with its time, all of one size, and return what was written.

    Raises:
        ValueError: There is none.
        OSError: *target* cannot be written.
    """
    times_s: list[float] = []
    size = (0, 0)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as file:
        for time_s, image in frames:
            encoded = io.BytesIO()
            image.save(encoded, "JPEG", quality=_QUALITY, subsampling=0)
            file.writestr(zipfile.ZipInfo(_name(len(times_s))), encoded.getvalue())  # without the time of day
            times_s.append(round(time_s, 3))
            size = image.size
        if not times_s:
            msg = "no frames"
            raise ValueError(msg)
        facts = {"width_px": size[0], "height_px": size[1], "times_s": times_s}
        file.writestr(zipfile.ZipInfo(_FACTS), json.dumps(facts))
    return Frames(*size, tuple(times_s))


def read_frames(source: Path) -> Frames:
    """Return what is known of the frames at *source*.

    Raises:
        OSError: It cannot be read.
    """
    with _opened(source) as file:
        facts = json.loads(file.read(_FACTS))
    return Frames(facts["width_px"], facts["height_px"], tuple(facts["times_s"]))


def open_frame(source: Path, number: int) -> Image:
    """Return frame *number*, counted from 0, in RGB.

    Raises:
        OSError: *source* cannot be read.
    """
    from PIL import Image

    with _opened(source) as file, Image.open(io.BytesIO(file.read(_name(number))), formats=("JPEG",)) as image:
        return image.convert("RGB")


@contextmanager
def _opened(source: Path) -> Iterator[zipfile.ZipFile]:
    """Open what :func:`write_frames` wrote; that it is not that any more is an error of the disk."""
    try:
        with zipfile.ZipFile(source) as file:
            yield file
    except (zipfile.BadZipFile, KeyError) as error:
        msg = f"the frames of a video are damaged on this disk: {error}"
        raise OSError(msg) from error


def _name(number: int) -> str:
    return f"{number:04}.jpg"
