"""How much memory a model needs, from its configuration and the headers of its weights. Pure; no mlx.

Weights are exact: the tensors of the files, cast as a load casts them. Keys and
values are an upper bound on what mlx-vlm's batch generator allocates. It makes
room 256 tokens at a time and pads every row of a batch to the longest, so the
bound counts all rows at the longest's length, and one step more. What a slice needs beside is an
estimate for one piece of a prompt, from the widths of the layers; measured peaks
(:mod:`app.scheduler.peaks`) replace it, and ``memory`` in the catalog replaces both.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.models.attention import Attention, KvLayers, attention_of, whisper_attention, whisper_context
from app.models.codec import codec_config, codec_layers, codec_slice_bytes, codec_state_bytes
from app.models.spec import Task
from app.models.tensors import FLOAT_BYTES, bytes_by_type

__all__ = [
    "BATCH_TOKENS",
    "BATCH_TOKENS_CPU",
    "DEFAULT_REQUEST_TOKENS",
    "HEARD_TOKENS",
    "PIECE_TOKENS",
    "PIECE_TOKENS_CPU",
    "SPEECH_PROMPT_TOKENS",
    "Footprint",
    "footprint_of",
    "read_footprint",
]

PIECE_TOKENS = 2048
"""Tokens of a prompt that one slice reads at most, on a GPU."""
PIECE_TOKENS_CPU = 512
"""The same on a CPU, where no model worth running reads more in the 100 ms of a slice."""
BATCH_TOKENS = 8192
"""Tokens of texts that one slice embeds at most, on a GPU; one text that is longer is a slice of its own."""
BATCH_TOKENS_CPU = 2048
"""The same on a CPU."""
SPEECH_PROMPT_TOKENS = 2048
"""Tokens that the prompt of one sentence may have: instructions, what is said in a reference and its sound, and the text."""
DEFAULT_REQUEST_TOKENS = 4096
"""The one request that a load makes room for, where the context allows: prompt and answer, half each."""
HEARD_TOKENS = 2048
"""Tokens that a stretch of speech may have with all that the model is told and writes; Whisper says its own number."""

_STEP_TOKENS = 256  # caches grow by this
_SLOTS = 16
# Logits, log-probabilities, and what sampling sorts of them: so many float32 numbers for each word of the vocabulary.
_LOGITS = 6
# Heads as wide as these have a fused kernel on Metal (scaled_dot_product_attention.cpp); others, and CPUs, keep all scores.
_FUSED = frozenset({64, 80, 96, 128})
_PATCHES = 4096  # of a picture: about a megapixel
_CLIP_S = 30  # of a recording, heard at once
_WINDOW_S = 8  # of a clip, in which its encoder attends
_CONVOLVED = 6
_BANDS = 128  # of a spectrum, a hundred times a second
_SPEECH = "qwen3_tts"
_SHORTEST_VERDICT = 64  # tokens: no row of a model that judges is shorter, and of each it makes logits
_CPU_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one model needs. All in bytes but ``context`` and ``most_pairs``."""

    weights_bytes: int
    activation_bytes: int  # of one slice, beyond weights and caches; slices of different models never run at once
    context: int  # tokens that prompt and answer may have together
    float_bytes: int  # of one number of its caches
    layers: tuple[KvLayers, ...] = ()
    state_bytes_per_request: int = 0  # of recurrent layers, or what a decoder attends to of a recording
    prompt_bytes_per_token: int = 0  # kept of the prompt being read, until it is read
    most_pairs: int | None = None  # piece times prompt that the estimate of unfused attention covers; None: fused

    @property
    def kv_bytes_per_token(self) -> int:
        """What one more token of one request costs while no window is full."""
        return sum(group.count * group.values_per_token for group in self.layers) * self.float_bytes

    def kv_bytes(self, tokens: int, rows: int = 1) -> int:
        """Return what a batch of *rows* requests keeps, the longest *tokens* long. Never less for more of either."""
        if tokens <= 0 or rows <= 0:
            return 0
        values = 0
        for group in self.layers:
            reading = 0 if group.window is None else min(tokens, PIECE_TOKENS)  # a full window and the piece behind it
            kept = tokens + _STEP_TOKENS if group.window is None else min(tokens + _STEP_TOKENS, group.window)
            # Rows come and go by copying one layer after the other, so one layer is there twice.
            values += (group.count + 1) * group.values_per_token * (rows * kept + reading)
        return values * self.float_bytes + rows * self.state_bytes_per_request

    def batch_bytes(self, tokens: int, rows: int, prompt: int) -> int:
        """Return what a batch needs while *prompt* tokens of prompts are read beside it; they are of some of the *rows*."""
        return self.kv_bytes(tokens, rows) + prompt * self.prompt_bytes_per_token

    def one_request_bytes(self, prompt: int, max_tokens: int) -> int:
        """Return what a request needs that is alone: *prompt* tokens to read, *max_tokens* to draw at most."""
        return self.batch_bytes(prompt + max_tokens, 1, prompt)

    def piece_tokens(self, prompt: int) -> int:
        """Return how many tokens of a prompt of *prompt* tokens a slice may read within ``activation_bytes``: a power of two."""
        if self.most_pairs is None:
            return PIECE_TOKENS
        most = max(1, self.most_pairs // max(1, prompt))
        return min(PIECE_TOKENS, 1 << (most.bit_length() - 1))

    @property
    def load_need_bytes(self) -> int:
        """What must be free before a load: weights, a slice, and one request of :data:`DEFAULT_REQUEST_TOKENS`."""
        half = min(self.context, DEFAULT_REQUEST_TOKENS) // 2
        return self.weights_bytes + self.activation_bytes + self.one_request_bytes(half, half)


def read_footprint(directory: Path, tasks: Collection[Task], context: int, *, cpu: bool) -> Footprint:
    """Return the footprint of the model in *directory*.

    Args:
        directory: Its folder.
        tasks: What it is loaded for: the same files keep nothing of a request when they only embed.
        context: Tokens that prompt and answer may have together.
        cpu: Whether MLX runs on the CPU: floats become float32 at the load then, and attention keeps its scores.

    Raises:
        OSError: ``config.json`` cannot be read.
        ValueError: It is not JSON.
    """
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    figures = config if isinstance(config, dict) else {}
    if figures.get("model_type") == _SPEECH:
        figures["speech_tokenizer"] = codec_config(directory)
    return footprint_of(figures, bytes_by_type(directory), tasks, context, cpu=cpu)


def footprint_of(
    config: Mapping[str, Any], stored_bytes: Mapping[str, int], tasks: Collection[Task], context: int, *, cpu: bool
) -> Footprint:
    """Return the footprint of a model with this configuration, of whose tensors so many bytes have each type."""
    floats = {kind: size for kind, size in stored_bytes.items() if kind in FLOAT_BYTES}
    own = FLOAT_BYTES[max(floats, key=lambda kind: floats[kind])] if floats else 2
    float_bytes = _CPU_FLOAT_BYTES if cpu else own
    weights = sum(size * _CPU_FLOAT_BYTES // FLOAT_BYTES[kind] if cpu else size for kind, size in floats.items())
    weights += sum(size for kind, size in stored_bytes.items() if kind not in FLOAT_BYTES)
    if config.get("model_type") == "whisper":
        attention, frames = whisper_attention(config)
        # Its attention is written out, so the encoder keeps the scores of a whole clip, before and after softmax.
        extra = 2 * attention.heads * frames * frames * _CPU_FLOAT_BYTES
        activation = 2 * frames * attention.widest * float_bytes + extra
        prints = _footprint(attention, weights, float_bytes, activation, min(context, whisper_context(config) or context))
        return replace(prints, state_bytes_per_request=prints.state_bytes_per_request + _sound_bytes(config))
    attention = attention_of(config)
    if config.get("model_type") == _SPEECH:
        return _speech(config, attention, weights, float_bytes, context, cpu=cpu)
    keys = min(context, DEFAULT_REQUEST_TOKENS)
    if set(tasks) <= {Task.EMBEDDING, Task.RERANK}:
        tokens = BATCH_TOKENS_CPU if cpu else BATCH_TOKENS
        activation = _slice_bytes(attention, tokens, keys, float_bytes, cpu=cpu)
        if Task.RERANK in tasks and not _classifies(config):
            activation += tokens // _SHORTEST_VERDICT * attention.vocabulary * float_bytes
        return Footprint(weights, activation, context, float_bytes)
    hears = Task.ASR in tasks
    context = min(context, HEARD_TOKENS) if hears else context
    keys = min(context, keys)
    tokens = keys if hears else PIECE_TOKENS_CPU if cpu else PIECE_TOKENS
    reading = _slice_bytes(attention, tokens, keys, float_bytes, cpu=cpu)
    reading += _LOGITS * (1 if hears else _SLOTS) * attention.vocabulary * _CPU_FLOAT_BYTES
    activation = max(reading, _ends_bytes(config, tasks, float_bytes, cpu=cpu))
    pairs = None if _fused(attention, cpu=cpu) else tokens * keys
    prints = _footprint(attention, weights, float_bytes, activation, context, pairs)
    return replace(prints, state_bytes_per_request=prints.state_bytes_per_request + _sound_bytes(config)) if hears else prints


def _speech(config: Mapping[str, Any], attention: Attention, weights: int, float_bytes: int, context: int, *, cpu: bool) -> Footprint:
    """Return the footprint of a voice: a decoder that reads its prompt in one piece, and a codec that keeps keys of its own."""
    nested = config.get("speech_tokenizer")
    codec = nested if isinstance(nested, Mapping) else {}
    # It writes a mask of all pairs. Logits it makes of the whole prompt, and keeps until the next token.
    reading = _slice_bytes(attention, SPEECH_PROMPT_TOKENS, SPEECH_PROMPT_TOKENS, float_bytes, cpu=cpu)
    reading += SPEECH_PROMPT_TOKENS * SPEECH_PROMPT_TOKENS * float_bytes
    clones = config.get("tts_model_type", "base") == "base"
    return Footprint(
        weights_bytes=weights,
        activation_bytes=max(reading, codec_slice_bytes(codec, clones=clones)),
        context=context,
        float_bytes=float_bytes,
        layers=(*attention.layers, codec_layers(codec, float_bytes)),
        state_bytes_per_request=codec_state_bytes(codec, clones=clones),
        prompt_bytes_per_token=(2 * attention.hidden + attention.vocabulary) * float_bytes,
    )


def _footprint(attention: Attention, weights: int, float_bytes: int, activation: int, context: int, pairs: int | None = None) -> Footprint:
    return Footprint(
        weights_bytes=weights,
        activation_bytes=activation,
        context=context,
        float_bytes=float_bytes,
        layers=attention.layers,
        state_bytes_per_request=attention.state_values * float_bytes + attention.state_floats * _CPU_FLOAT_BYTES,
        prompt_bytes_per_token=attention.hidden * float_bytes,
        most_pairs=pairs,
    )


def _sound_bytes(config: Mapping[str, Any]) -> int:
    """Return what is kept of a clip while it is heard: its samples, and its spectrum before and after the first layers."""
    nested = config.get("thinker_config")
    ears = nested.get("audio_config") if isinstance(nested, Mapping) else config
    stated = ears.get("num_mel_bins") or ears.get("n_mels") if isinstance(ears, Mapping) else None
    bands = stated if isinstance(stated, int) else _BANDS
    return _CLIP_S * (16_000 + 2 * 100 * bands) * _CPU_FLOAT_BYTES


def _classifies(config: Mapping[str, Any]) -> bool:
    architectures = config.get("architectures")
    return isinstance(architectures, list) and any(str(one).endswith("ForSequenceClassification") for one in architectures)


def _fused(attention: Attention, *, cpu: bool) -> bool:
    return not cpu and attention.head_dim in _FUSED


def _slice_bytes(attention: Attention, tokens: int, keys: int, float_bytes: int, *, cpu: bool) -> int:
    """Return what the layers need for a slice of *tokens* that attend to *keys* tokens each."""
    scores = 0 if _fused(attention, cpu=cpu) else 2 * attention.heads * keys
    return tokens * (attention.widest + scores) * float_bytes


def _ends_bytes(config: Mapping[str, Any], tasks: Collection[Task], float_bytes: int, *, cpu: bool) -> int:
    """Return what the ends of a model need that sees, hears or speaks: they run in slices of their own, of bounded size."""
    nested = config.get("thinker_config")
    figures = nested if isinstance(nested, Mapping) else config
    eyes, ears = figures.get("vision_config"), figures.get("audio_config")
    if isinstance(eyes, Mapping) and {Task.VISION, Task.OCR} & set(tasks):
        seeing = attention_of(eyes)
        return _slice_bytes(seeing, _PATCHES, _PATCHES, float_bytes, cpu=cpu)
    if isinstance(ears, Mapping):
        # The first convolution halves 100 frames a second of so many bands. It is kept before and after its activation,
        # and the second one, which reads it in squares of nine and halves it twice more, writes these out.
        frames, bands = _WINDOW_S * 50, int(ears.get("num_mel_bins", 128)) // 2
        return _CONVOLVED * frames * bands * int(ears.get("downsample_hidden_size", 480)) * float_bytes
    return 0
