"""Silero's voice activity detection of mlx-audio, over a recording of any length.

A window of 32 ms needs the one before it only for its recurrent layer. So the layers
before that take many windows at once, and the result is the same as window by window.
What is carried from slice to slice is that layer's state and the last 4 ms of sound;
what is kept of the recording is one number for each window.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn
from mlx.utils import tree_flatten
from mlx_audio.utils import load_weights
from mlx_audio.vad.models import silero_vad
from mlx_audio.vad.models.silero_vad.silero_vad import _reflect_pad_right

from app.audio.pcm import RATE_HZ, duration_s
from app.engines.hearing import Span
from app.engines.pace import Pace
from app.engines.pcm import Samples

__all__ = ["Silero"]

_State = tuple[mx.array, mx.array] | None


class Silero:
    """The 16 kHz half of the model, in memory. Takes about a megabyte.

    Args:
        directory: Its folder, in the hub's layout.

    Raises:
        ValueError: A weight is missing or of another shape.
    """

    def __init__(self, directory: Path) -> None:
        model = silero_vad.Model(silero_vad.ModelConfig())
        self._branch: Any = model.vad_16k
        names = {name for name, _ in cast("list[tuple[str, mx.array]]", tree_flatten(self._branch.parameters()))}
        stored = {name.removeprefix("vad_16k."): array for name, array in load_weights(directory).items()}
        self._branch.load_weights([(name, stored[name]) for name in names & stored.keys()], strict=True)
        mx.eval(self._branch.parameters())
        self._pace = Pace(start=128, least=32, most=2048)  # windows of a slice

    def spans(self, audio: Path) -> Generator[None, None, tuple[Span, ...]]:
        """Return where somebody speaks in *audio*, a slice between any two yields."""
        size, context = self._branch.config.chunk_size, np.zeros(self._branch.config.context_size, dtype=np.float32)
        chances: list[npt.NDArray[np.float32]] = []
        state: _State = None
        with audio.open("rb") as file:
            while raw := file.read(2 * size * self._pace.size):
                began = time.perf_counter()
                sound = np.frombuffer(raw[: len(raw) // 2 * 2], dtype="<i2").astype(np.float32) / np.float32(32768)
                sound = np.pad(sound, (0, -len(sound) % size))
                chance, state = self._chances(np.concatenate([context, sound]), state)
                context = sound[-len(context) :] if sound.size else context
                chances.append(chance)
                self._pace.record(len(chance), time.perf_counter() - began)
                yield
        return self._spans_of(np.concatenate(chances) if chances else np.zeros(0, dtype=np.float32), audio)

    def _chances(self, sound: Samples, state: _State) -> tuple[npt.NDArray[np.float32], _State]:
        """Return the chance of speech in each window of *sound*, which begins with the context of the first."""
        branch, (size, before) = self._branch, (self._branch.config.chunk_size, self._branch.config.context_size)
        if len(sound) < size + before:
            return np.zeros(0, dtype=np.float32), state
        windows = mx.array(np.lib.stride_tricks.sliding_window_view(sound, size + before)[::size])
        x = branch.stft_conv(_reflect_pad_right(windows, branch.config.pad)[..., None])
        x = mx.sqrt(x[..., : branch.config.cutoff] ** 2 + x[..., branch.config.cutoff :] ** 2)
        for layer in (branch.conv1, branch.conv2, branch.conv3, branch.conv4):
            x = nn.relu(layer(x))
        rows, steps, width = x.shape
        hidden, cell = (None, None) if state is None else state
        hidden, cell = branch.lstm(x.reshape(1, rows * steps, width), hidden=hidden, cell=cell)
        spoken = mx.sigmoid(branch.final_conv(nn.relu(hidden)))
        chance = mx.mean(spoken.reshape(rows, steps), axis=1)
        kept = hidden[:, -1], cell[:, -1]
        mx.eval(chance, *kept)
        return np.array(chance), kept

    def _spans_of(self, chances: npt.NDArray[np.float32], audio: Path) -> tuple[Span, ...]:
        config = silero_vad.ModelConfig()
        found = silero_vad.Model._probs_to_timestamps(  # noqa: SLF001
            chances,
            audio_len=round(duration_s(audio) * RATE_HZ),
            sample_rate=RATE_HZ,
            threshold=config.threshold,
            min_speech_duration_ms=config.min_speech_duration_ms,
            min_silence_duration_ms=config.min_silence_duration_ms,
            speech_pad_ms=config.speech_pad_ms,
            return_seconds=True,
        )
        return tuple((span["start"], span["end"]) for span in found)
