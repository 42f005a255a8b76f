"""What a model keeps of every request, by its configuration: keys and values, states of recurrent layers, and the sizes of a slice's work.

Pure: a mapping in, numbers out. The families here are those whose caches were read
in mlx-vlm 0.7.10 and mlx-audio 0.6.2. Any other counts as full attention in every
layer, which is the most that a transformer keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Attention", "KvLayers", "attention_of", "text_figures", "whisper_attention", "whisper_context"]

_PARTS = ("text_config", "talker_config", "language_config", "llm_config")
# Figures that published configurations leave out, as mlx-vlm fills them in.
_GEMMA3 = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 262208,
    "sliding_window": 1024,
    "sliding_window_pattern": 6,
}
_UNSTATED: Mapping[str, Mapping[str, int]] = {"gemma3": _GEMMA3, "gemma3_text": _GEMMA3}
_STATE_FLOAT_BYTES = 4  # gated_delta.py keeps recurrent states in float32, whatever the weights are in


@dataclass(frozen=True, slots=True)
class KvLayers:
    """Attention layers that keep keys and values alike."""

    count: int
    values_per_token: int  # numbers that one layer keeps of a token
    window: int | None = None  # tokens that are kept; None: all


@dataclass(frozen=True, slots=True)
class Attention:
    """What a text model keeps of a request, and how wide its layers are."""

    layers: tuple[KvLayers, ...]
    state_values: int  # of one request, kept in the model's own float type
    state_floats: int  # of one request, kept in float32
    heads: int
    head_dim: int
    hidden: int
    widest: int  # numbers that the widest layer holds of one token at once, its scores left out
    vocabulary: int


def text_figures(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of the part that reads and writes tokens, which models with eyes or ears nest."""
    nested = config.get("thinker_config")
    outer: Mapping[str, Any] = nested if isinstance(nested, Mapping) else config
    inner = next((part for key in _PARTS if isinstance(part := outer.get(key), Mapping)), {})
    stated = {**outer, **{key: value for key, value in inner.items() if value is not None}}
    family = _UNSTATED.get(str(config.get("model_type")), _UNSTATED.get(str(stated.get("model_type")), {}))
    return {**family, **{key: value for key, value in stated.items() if value is not None}}


def attention_of(config: Mapping[str, Any]) -> Attention:
    """Return what a model with this ``config.json`` keeps of a request."""
    figures = text_figures(config)
    hidden = _whole(figures, "hidden_size", "n_embd", "d_model")
    heads = max(1, _whole(figures, "num_attention_heads", "n_head", "num_heads"))
    kv_heads = _whole(figures, "num_key_value_heads") or heads
    head_dim = _whole(figures, "head_dim") or hidden // heads
    count = _whole(figures, "num_hidden_layers", "n_layer", "n_layers", "depth")
    linear = _linear_layers(figures, count)
    conv = 2 * _whole(figures, "linear_num_key_heads") * _whole(figures, "linear_key_head_dim")
    value = _whole(figures, "linear_num_value_heads") * _whole(figures, "linear_value_head_dim")
    return Attention(
        layers=_attending(figures, count - linear, 2 * kv_heads * head_dim),
        state_values=linear * max(0, _whole(figures, "linear_conv_kernel_dim") - 1) * (conv + value),
        state_floats=linear * value * _whole(figures, "linear_key_head_dim"),
        heads=heads,
        head_dim=head_dim,
        hidden=hidden,
        widest=_widest(figures, hidden, (heads + kv_heads) * 2 * head_dim, 4 * (conv + value) if linear else 0),
        vocabulary=_whole(figures, "vocab_size"),
    )


def whisper_attention(config: Mapping[str, Any]) -> tuple[Attention, int]:
    """Return what Whisper's decoder keeps of a clip, and the frames of a clip. Both of its configuration's spellings."""
    layers = _whole(config, "n_text_layer", "decoder_layers")
    width = _whole(config, "n_text_state", "d_model")
    frames = _whole(config, "n_audio_ctx", "max_source_positions")
    heads = max(1, _whole(config, "n_audio_head", "encoder_attention_heads"))
    attention = Attention(
        layers=(KvLayers(layers, 2 * width),),
        state_values=layers * 2 * width * frames,  # what the decoder attends to of the clip
        state_floats=0,
        heads=heads,
        head_dim=width // heads,
        hidden=width,
        widest=6 * width + 2 * 4 * width,
        vocabulary=_whole(config, "n_vocab", "vocab_size"),
    )
    return attention, frames


def whisper_context(config: Mapping[str, Any]) -> int:
    """Return the tokens that Whisper's decoder has places for; 0 where its configuration does not say."""
    return _whole(config, "n_text_ctx", "max_target_positions")


def _linear_layers(figures: Mapping[str, Any], count: int) -> int:
    """Return how many layers keep a state of constant size instead of keys and values."""
    if not _whole(figures, "linear_num_value_heads"):
        return 0
    if interval := _whole(figures, "full_attention_interval"):
        return count - count // interval
    types = figures.get("layer_types")
    return types.count("linear_attention") if isinstance(types, list) else count - count // 4


def _attending(figures: Mapping[str, Any], count: int, values: int) -> tuple[KvLayers, ...]:
    window, pattern = _whole(figures, "sliding_window"), _whole(figures, "sliding_window_pattern")
    if not (str(figures.get("model_type")).startswith("gemma3") and window and pattern):
        return (KvLayers(count, values),) if count else ()
    everything = count // pattern
    return (KvLayers(everything, values), KvLayers(count - everything, values, window))


def _widest(figures: Mapping[str, Any], hidden: int, projected: int, linear: int) -> int:
    """Return how many numbers of one token are alive at once in the widest layer.

    The stream, its norm and what is added to it; queries, keys and values before and after their rotation; gate, up
    and product of the feed-forward part. Of a mixture of experts, those of the chosen ones, and their outputs twice.
    """
    forward = 3 * (_whole(figures, "intermediate_size", "n_inner") or 4 * hidden)
    chosen, expert = _whole(figures, "num_experts_per_tok"), _whole(figures, "moe_intermediate_size")
    experts = chosen * (3 * expert + 2 * hidden) + 3 * _whole(figures, "shared_expert_intermediate_size")
    return 6 * hidden + max(projected + linear, forward, experts)


def _whole(figures: Mapping[str, Any], *names: str) -> int:
    """Return the first of these figures that is stated as a number; 0 where none is."""
    return next((value for name in names if isinstance(value := figures.get(name), int)), 0)
