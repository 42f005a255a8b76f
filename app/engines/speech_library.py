"""The parts of mlx-audio that speech is made with, and the one door to them.

mlx-audio's own loader reads the codec at once, prints, and goes on without a codec
that is broken. So the model is put together here out of the same pieces, its
weights read when they are evaluated.

A sentence is mlx-audio's own generator, asked for one codec token after the other.
What it keeps outside of itself is changed for each token and put back after it:
the codec's memory of the sound so far, which lies in its layers and so belongs
to whoever spoke last, and the state of ``mx.random``, which belongs to the thread.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn
from mlx.utils import tree_flatten
from mlx_audio.codec.models.mimi.modules import SeanetEncoder
from mlx_audio.tts.models.qwen3_tts.config import ModelConfig, Qwen3TTSTokenizerConfig, filter_dict_for_dataclass
from mlx_audio.tts.models.qwen3_tts.qwen3_tts import Model
from mlx_audio.tts.models.qwen3_tts.speech_tokenizer import Qwen3TTSSpeechTokenizer
from mlx_audio.utils import apply_quantization, load_config, load_weights, resample_audio

from app.errors import ModelLoadFailed
from app.models.codec import PIECE_SAMPLES

__all__ = ["STREAMED", "Utterance", "finish_loading", "load_lazily", "own_randomness", "reference_rate", "resampled", "sample_rate"]

STREAMED = ("_buffer", "_overflow", "_transformer_cache")
"""What the codec's layers remember of the sound so far."""

_ONE_TOKEN_S = 0.08
_NOT_NEEDED = re.compile(r"decoder\..*\.input_proj\.weight|.*\.initialized")  # of codebooks: what only training needs


class _Watched(Model):  # type: ignore[misc] # mlx-audio has no types
    """The model, noting whether what it draws tokens by is finite: a token drawn by NaN sounds like any other."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self._broken: mx.array | None = None

    def _sample_token(self, logits: mx.array, *arguments: Any, **named: Any) -> mx.array:  # noqa: ANN401
        broken = mx.logical_not(mx.isfinite(logits[:, -1]).all())
        self._broken = broken if self._broken is None else mx.logical_or(self._broken, broken)
        token: mx.array = super()._sample_token(logits, *arguments, **named)
        return token

    def take_broken(self) -> bool:
        """Return whether anything was not finite since this was last asked."""
        broken, self._broken = self._broken, None
        return broken is not None and bool(broken.item())


class _PieceByPiece(SeanetEncoder):  # type: ignore[misc] # mlx-audio has no types
    """The first layers of the codec's listening half, a second of the recording at a time: at once they take 20 times its memory."""

    def __call__(self, samples: mx.array) -> mx.array:
        made = []
        whole = samples.shape[-1] // self.hop * self.hop  # what is left, a 25th of a second at most, would need padding in every layer
        for begin in range(0, whole, PIECE_SAMPLES):
            made.append(self.step(samples[..., begin : min(begin + PIECE_SAMPLES, whole)]))
            mx.eval(made[-1])
        return mx.concatenate(made, axis=-1)


class _Tokenizer:
    """What the model takes for its tokenizer."""

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        self.encode = encode


def load_lazily(directory: Path, generation: Mapping[str, Any], encode: Callable[[str], list[int]]) -> nn.Module:
    """Return the model with weights that are read when they are evaluated; :func:`finish_loading` comes after that.

    Args:
        directory: The model's folder.
        generation: Its generation defaults.
        encode: Its tokenizer.

    Raises:
        ModelLoadFailed: The codec lacks weights.
    """
    config = load_config(directory)
    with own_randomness(0):  # layers draw weights before they are given theirs
        model = _Watched(ModelConfig.from_dict(config))
        weights = model.sanitize(load_weights(directory))
        apply_quantization(model, config, weights, model.model_quant_predicate)
        model.load_weights(list(weights.items()), strict=True)
        model.load_speech_tokenizer(_load_codec(directory / "speech_tokenizer", clones=config.get("tts_model_type", "base") == "base"))
    model.tokenizer = _Tokenizer(encode)
    model.load_generate_config(dict(generation))
    model.eval()
    loaded: nn.Module = model
    return loaded


def _load_codec(directory: Path, *, clones: bool) -> nn.Module:
    """Return the codec; the half that listens only where voices are cloned."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    if not clones:
        config.pop("encoder_config", None)
    codec = Qwen3TTSSpeechTokenizer(Qwen3TTSTokenizerConfig(**filter_dict_for_dataclass(Qwen3TTSTokenizerConfig, config)))
    stored = Qwen3TTSSpeechTokenizer.sanitize(load_weights(directory))
    wanted = {name for name, _ in cast("list[tuple[str, mx.array]]", tree_flatten(codec.parameters()))}
    if missing := sorted(name for name in wanted - stored.keys() if not _NOT_NEEDED.fullmatch(name)):
        msg = f"{directory.name} lacks {len(missing)} weights of the codec, {missing[0]} for one."
        raise ModelLoadFailed(msg)
    codec.load_weights([(name, weight) for name, weight in stored.items() if name in wanted], strict=False)
    if codec.encoder_model is not None:
        codec.encoder_model.encoder.hop = math.prod(codec.config.encoder_config.upsampling_ratios)
        codec.encoder_model.encoder.__class__ = _PieceByPiece
    loaded: nn.Module = codec
    return loaded


def finish_loading(model: nn.Module) -> None:
    """Do what must follow once the weights are there: the codec's listening half looks up codes in tables made of them."""
    listening = model.speech_tokenizer.encoder_model
    if listening is not None:
        for part in (listening.quantizer.rvq_first, listening.quantizer.rvq_rest):
            for layer in part.vq.layers:
                layer.codebook.update_in_place()


def sample_rate(model: nn.Module) -> int:
    """Return how many samples a second of the model's sound has."""
    return int(model.sample_rate)


def reference_rate(model: nn.Module) -> int:
    """Return at how many samples a second the model listens to a recording."""
    return int(model.speech_tokenizer.input_sample_rate)


def resampled(samples: npt.NDArray[np.float32], rate: int, wanted: int) -> npt.NDArray[np.float32]:
    """Return *samples* of *rate* at the rate *wanted*."""
    return np.asarray(resample_audio(samples, rate, wanted), dtype=np.float32)


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Have ``mx.random`` begin at *seed*, and go on afterwards as if nothing had been drawn."""
    high, low = cast("list[int]", cast("Sequence[mx.array]", mx.random.state)[0].tolist())
    mx.random.seed(seed)
    try:
        yield
    finally:
        # A key is its seed's two halves, so this is the very state that was there.
        mx.random.seed((high << 32) | low)


def _forget_recording(model: nn.Module) -> None:
    """Drop what the codec's listening half remembers of a recording; it begins anew with each, but not before the next."""
    listening = model.speech_tokenizer.encoder_model
    if listening is not None:
        listening.encoder.reset_state()
        listening.encoder_cache = listening.encoder_transformer.make_cache()


class Utterance:
    """One sentence on its way, token by token.

    Args:
        model: As loaded here.
        text: What to say.
        budget: Tokens at most.
        options: Further arguments of the model's ``generate``: voice, instruct, lang_code, ref_audio, ref_text, temperature, ...
        heard: What the model knows of reference recordings by now; it adds to that.
    """

    def __init__(self, model: nn.Module, text: str, budget: int, options: Mapping[str, Any], heard: dict[Any, Any]) -> None:
        self.tokens = 0
        self._model = model
        self._heard = heard
        self._remembered: dict[tuple[int, str], Any] = {}
        self._pieces = model.generate(text, max_tokens=budget, stream=True, streaming_interval=_ONE_TOKEN_S, **options)

    def next(self, seed: int) -> npt.NDArray[np.float32] | None:
        """Return the samples of the next token, None after the last. What is drawn for it depends on *seed* alone.

        Where the model computed what is not finite, that is what is returned.
        """
        decoder = self._model.speech_tokenizer.decoder
        layers = [(layer, name) for _, layer in decoder.named_modules() for name in STREAMED if hasattr(layer, name)]
        for place, (layer, name) in enumerate(layers):
            setattr(layer, name, self._remembered.get((place, name)))
        self._model._icl_cache = self._heard  # noqa: SLF001 - elsewhere it would grow with every recording
        try:
            with own_randomness(seed):
                piece = next(self._pieces, None)
            self._remembered = {(place, name): getattr(layer, name) for place, (layer, name) in enumerate(layers)}
        finally:
            self._model._icl_cache = {}  # noqa: SLF001 - likewise
            for layer, name in layers:
                setattr(layer, name, None)
            if not self.tokens:
                _forget_recording(self._model)
        if self._model.take_broken():
            return np.full(1, np.nan, np.float32)
        if piece is None:
            return None
        self.tokens += int(piece.token_count)
        return np.array(piece.audio, dtype=np.float32)

    def close(self) -> None:
        """Let go of what the sentence keeps."""
        self._pieces.close()
        self._remembered = {}
