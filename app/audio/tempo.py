"""Speak faster or slower at the same pitch: ffmpeg's ``atempo``, fed piece by piece.

At speed 1 the sound passes unchanged, and no filter is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.filter import Graph

__all__ = ["SPEEDS", "Tempo", "frame_of", "sound_of"]

SPEEDS = (0.25, 4.0)
"""The lowest and the highest speed."""

_STEP = 2.0  # beyond 0.5 to 2 atempo drops sound instead of blending it: so several in a row


class Tempo:
    """Takes int16 mono, gives int16 mono of the same rate."""

    def __init__(self, rate_hz: int, speed: float) -> None:
        self._rate_hz = rate_hz
        self._graph = None if speed == 1.0 else _graph(rate_hz, speed)
        self._fed = False

    def feed(self, pcm: bytes) -> Iterator[bytes]:
        """Take whole samples and yield what is ready."""
        if self._graph is None:
            yield pcm
        elif pcm:
            self._graph.push(frame_of(pcm, self._rate_hz))
            self._fed = True
            yield from self._ready()

    def finish(self) -> Iterator[bytes]:
        """Yield the rest."""
        if self._graph is not None and self._fed:
            self._graph.push(None)
            yield from self._ready()

    def _ready(self) -> Iterator[bytes]:
        import av
        from av.audio.frame import AudioFrame

        assert self._graph is not None  # noqa: S101 - for the type checker: both callers looked
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(frame, AudioFrame)  # noqa: S101 - likewise: nothing else was pushed
            yield sound_of(frame)


def frame_of(pcm: bytes, rate_hz: int) -> AudioFrame:
    """Return a frame of *pcm*, which is some whole samples. Without numpy: the API has none."""
    import av

    frame = av.AudioFrame("s16", "mono", len(pcm) // 2)
    frame.planes[0].update(pcm)
    frame.sample_rate = rate_hz
    return frame


def sound_of(frame: AudioFrame) -> bytes:
    """Return the int16 samples of a mono *frame*; what else its buffer has is filling."""
    return bytes(frame.planes[0])[: frame.samples * 2]


def _graph(rate_hz: int, speed: float) -> Graph:
    """Return a chain of filters whose speeds multiply to *speed*."""
    from av.filter import Graph

    graph = Graph()
    steps = []
    while not 1 / _STEP <= speed <= _STEP:
        steps.append(_STEP if speed > 1 else 1 / _STEP)
        speed /= steps[-1]
    tempos = [graph.add("atempo", str(step)) for step in (*steps, speed)]
    source = graph.add_abuffer(sample_rate=rate_hz, format="s16", layout="mono")
    shape = graph.add("aformat", "sample_fmts=s16:channel_layouts=mono")
    graph.link_nodes(source, *tempos, shape, graph.add("abuffersink")).configure()
    return graph
