"""A video becomes a few of its frames, or says why not. The work is done by a child (:mod:`app.pictures.video_decoder`).

Frames are taken as mlx-vlm's loader takes them for the models that see videos:
two a second, four at least, evenly over the whole. Each is upright, and scaled
down to what these models look at.

Promises: memory does not grow with the length of the video; nothing is left at
the target when it cannot be used; see :mod:`app.apart.watching` for the rest.
Sound is not listened to.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.apart.watching import Trade, Unusable, run_apart
from app.errors import UnreadableVideo
from app.pictures.frames import Frames

__all__ = ["take_frames"]

_PATIENCE_S = 180.0
_DECODER = Trade(
    module="app.pictures.video_decoder",
    who="decoder",
    what="video",
    advice="Convert it to mp4 with H.264 and send that.",
    most_bytes=1536 * 1024**2,  # sixteen frames of 4K in 10 bits, and those on their way, are half a gigabyte
)


def take_frames(
    source: Path,
    target: Path,
    *,
    longest_s: float,
    should_stop: Callable[[], bool] = lambda: False,
    patience_s: float = _PATIENCE_S,
) -> Frames:
    """Write the frames that stand for the video at *source* to *target* (:mod:`app.pictures.frames`).

    Args:
        source: An mp4, mov, mkv or webm, whatever its name.
        target: Is written anew, and removed when this raises.
        longest_s: A longer video is refused.
        should_stop: Asked about 20 times a second.
        patience_s: A video that takes longer is refused.

    Raises:
        UnreadableVideo: It is none, has no picture, is damaged, cut off or too long.
        Stopped: *should_stop* said so.
        OSError: *source* cannot be read, or *target* cannot be written, as when the disk is full.
    """
    try:
        words = ["take", str(source), str(target), repr(longest_s)]
        said = run_apart(_DECODER, words, should_stop=should_stop, patience_s=patience_s)
    except Unusable as reason:
        target.unlink(missing_ok=True)
        raise UnreadableVideo(str(reason)) from None
    except BaseException:  # whatever it was, half a file must not stay
        target.unlink(missing_ok=True)
        raise
    return Frames(said["width_px"], said["height_px"], tuple(said["times_s"]))
