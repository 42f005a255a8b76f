"""What the tests of the engine that speaks share: work, recordings, damage."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from app.engines.edges import pcm_of
from app.engines.protocols import Frontend
from app.engines.registry import open_frontend
from app.engines.speaking import SpeechWork
from app.models.spec import ModelSpec

__all__ = [
    "TINY_RATE",
    "TOKEN_SAMPLES",
    "Listening",
    "Mute",
    "active_bytes",
    "deafening",
    "endless",
    "frontend",
    "recording",
    "samples_of",
    "silent",
    "work",
]

TINY_RATE = 24_000
TOKEN_SAMPLES = 40  # of the tiny models' codec


def work(name: str = "w", *sentences: str, budget: int = 30, **fields: Any) -> SpeechWork:  # noqa: ANN401 - fields of SpeechWork
    said = sentences or ("The river rises in the hills.",)
    named = {"voice": "vivian", "seed": 1, "prompt_tokens": 100, **fields}
    return SpeechWork(name, said, (budget,) * len(said), **named)


def recording(file: Path, tone: int, *, rate: int = 24_000, seconds: int = 2) -> Path:
    """Write a tone that swells and fades three times in pi seconds."""
    time_s = np.arange(seconds * rate) / rate
    file.write_bytes(pcm_of((0.4 * np.sin(time_s * tone * 2 * np.pi) * np.sin(time_s * 3) ** 2).astype(np.float32)))
    return file


def frontend(directory: Path) -> Frontend:
    return open_frontend(ModelSpec.model_validate({"id": "tiny", "repo": str(directory), "tasks": ["tts"]}), directory)


def samples_of(pcm: bytes) -> npt.NDArray[np.float32]:
    return np.frombuffer(pcm, "<i2").astype(np.float32) * np.float32(1 / 32767)


def endless(model: nn.Module) -> None:
    """Have the model never draw the token that ends a sentence."""
    talker = cast("Any", model).talker
    end = talker.config.codec_eos_token_id
    healthy = type(talker.codec_head)

    def call(layer: nn.Module, hidden: mx.array) -> mx.array:
        logits: mx.array = healthy.__call__(layer, hidden)
        return mx.where(mx.arange(logits.shape[-1]) == end, mx.array(-1e9), logits)

    talker.codec_head.__class__ = type("Endless", (healthy,), {"__call__": call})


def silent(model: nn.Module) -> None:
    last = cast("Any", model).speech_tokenizer.decoder.decoder[-1].conv
    last.weight, last.bias = mx.zeros_like(last.weight), mx.zeros_like(last.bias)


def deafening(model: nn.Module) -> None:
    last = cast("Any", model).speech_tokenizer.decoder.decoder[-1].conv
    last.bias = last.bias * mx.nan


class Listening:
    """Notes the codes that are turned into sound, and turns them into sound once more, all at once."""

    def __init__(self) -> None:
        self.codes: list[mx.array] = []
        self._decoder: Any = None

    def __call__(self, model: nn.Module) -> None:
        decoder = cast("Any", model).speech_tokenizer.decoder
        healthy, codes = type(decoder), self.codes

        def streaming_step(layer: Any, piece: mx.array) -> mx.array:  # noqa: ANN401
            codes.append(piece)
            sound: mx.array = healthy.streaming_step(layer, piece)
            return sound

        decoder.__class__ = type("Watched", (healthy,), {"streaming_step": streaming_step})
        self._decoder = decoder

    def at_once(self) -> npt.NDArray[np.float32]:
        return np.array(self._decoder(mx.concatenate(self.codes, axis=-1))[0, 0])


class Mute:
    """Has the codec make silence of the first *tokens*."""

    def __init__(self, tokens: int) -> None:
        self._left = tokens

    def __call__(self, model: nn.Module) -> None:
        decoder = cast("Any", model).speech_tokenizer.decoder
        healthy = type(decoder)

        def streaming_step(layer: Any, piece: mx.array) -> mx.array:  # noqa: ANN401
            self._left -= 1
            sound: mx.array = healthy.streaming_step(layer, piece)
            return sound if self._left < 0 else mx.zeros_like(sound)

        decoder.__class__ = type("Mute", (healthy,), {"streaming_step": streaming_step})


def active_bytes() -> int:
    gc.collect()
    mx.synchronize()
    mx.clear_cache()
    return int(mx.get_active_memory())
