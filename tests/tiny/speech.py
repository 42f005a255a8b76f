"""Tiny Qwen3-TTS models: named voices, designed voices, cloned voices; the codec in a folder of its own, as published.

mlx-audio guesses from its shape whether a convolution is in its own layout or in
PyTorch's: one of width 1 must have more than 64 channels, others more channels than
width. That, and 1,024 codes that are set aside, is why these are not smaller still.
So that a CPU is quick with them, a token is 40 samples and not 1,920.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from tests.tiny.files import Precision, write_json, write_model
from tests.tiny.tokenizers import VOCAB, qwen_tokenizer

__all__ = ["qwen3_tts", "qwen3_tts_base", "qwen3_tts_design"]

_WIDTH = 64
_CODES = 64  # of each of the four codebooks
_GROUPS = 4
_LISTENS = 20  # times the usual initial weights, so that codes differ from sound to sound
_LOUDER = 40  # than the usual initial weights, which are all but silent
_LANGUAGES = {"english": 80, "chinese": 81, "german": 82}
_SPEAKERS = {"vivian": [90], "ryan": [91], "uncle_fu": [92]}


def qwen3_tts(out: Path, precision: Precision) -> None:
    """Named voices: vivian, ryan and uncle_fu."""
    _write(out, precision, "custom_voice")


def qwen3_tts_design(out: Path, precision: Precision) -> None:
    """Voices by instructions."""
    _write(out, precision, "voice_design")


def qwen3_tts_base(out: Path, precision: Precision) -> None:
    """Voices by reference: with the half of the codec that listens."""
    _write(out, precision, "base")


def _write(out: Path, precision: Precision, kind: str) -> None:
    from mlx_audio.tts.models.qwen3_tts.config import ModelConfig
    from mlx_audio.tts.models.qwen3_tts.qwen3_tts import Model

    config = _config(qwen_tokenizer(out, None), kind)
    model = Model(ModelConfig.from_dict(config))
    write_model(out, model, config, precision, quantised=lambda path: model.model_quant_predicate(path, None))
    generation = {"do_sample": True, "temperature": 0.9, "top_k": 50, "top_p": 1.0, "repetition_penalty": 1.05, "max_new_tokens": 8192}
    write_json(out / "generation_config.json", generation)
    _write_codec(out / "speech_tokenizer")


def _config(ids: dict[str, int], kind: str) -> dict[str, Any]:
    layers = {"hidden_size": _WIDTH, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    talker = {
        **layers,
        "vocab_size": _CODES + 1024,
        "num_hidden_layers": 2,
        "rope_scaling": {"interleaved": True, "mrope_section": [4, 2, 2], "rope_type": "default"},
        "num_code_groups": _GROUPS,
        "text_hidden_size": _WIDTH,
        "text_vocab_size": VOCAB,
        "codec_pad_id": 68,
        "codec_bos_id": 69,
        "codec_eos_token_id": 70,
        "codec_think_id": 74,
        "codec_nothink_id": 75,
        "codec_think_bos_id": 76,
        "codec_think_eos_id": 77,
        "codec_language_id": _LANGUAGES,
        "spk_id": _SPEAKERS if kind == "custom_voice" else {},
        "spk_is_dialect": dict.fromkeys(_SPEAKERS, False) if kind == "custom_voice" else {},
        "code_predictor_config": {**layers, "vocab_size": _CODES, "num_hidden_layers": 1, "num_code_groups": _GROUPS},
    }
    return {
        "architectures": ["Qwen3TTSForConditionalGeneration"],
        "model_type": "qwen3_tts",
        "tts_model_type": kind,
        "tts_model_size": "1b7",
        "tokenizer_type": "qwen3_tts_tokenizer_12hz",
        "sample_rate": 24000,
        "im_start_token_id": ids["<|im_start|>"],
        "im_end_token_id": ids["<|im_end|>"],
        "tts_pad_token_id": ids["<|vision_pad|>"],
        "tts_bos_token_id": ids["<|vision_start|>"],
        "tts_eos_token_id": ids["<|vision_end|>"],
        "talker_config": talker,
        "speaker_encoder_config": {
            "enc_dim": _WIDTH,
            "enc_channels": [80, 80, 80, 80, 240],
            "enc_res2net_scale": 4,
            "enc_attention_channels": 72,
            "enc_se_channels": 72,
        },
    }


def _write_codec(out: Path) -> None:
    from mlx_audio.tts.models.qwen3_tts.config import Qwen3TTSTokenizerConfig
    from mlx_audio.tts.models.qwen3_tts.speech_tokenizer import Qwen3TTSSpeechTokenizer

    decoder = {
        "latent_dim": 128,
        "codebook_dim": 256,
        "codebook_size": _CODES,
        "semantic_codebook_size": _CODES,
        "decoder_dim": 136,
        "upsample_rates": [10],
        "upsampling_ratios": [2, 2],
        "hidden_size": 128,
        "intermediate_size": 128,
        "head_dim": 16,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "num_hidden_layers": 2,
        "num_quantizers": _GROUPS,
        "vector_quantization_hidden_dimension": 256,
    }
    encoder = {
        "codebook_dim": 32,
        "codebook_size": _CODES,
        "hidden_size": 64,
        "head_dim": 16,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "num_filters": 8,
        "num_hidden_layers": 1,
        "num_quantizers": _GROUPS,
        "vector_quantization_hidden_dimension": 32,
    }
    config = {
        "model_type": "qwen3_tts_tokenizer_12hz",
        "decoder_config": decoder,
        "encoder_config": encoder,
        "encoder_valid_num_quantizers": _GROUPS,
        "input_sample_rate": 24000,
        "output_sample_rate": 24000,
        "decode_upsample_rate": 40,
        "encode_downsample_rate": 1920,
    }
    codec = Qwen3TTSSpeechTokenizer(Qwen3TTSTokenizerConfig(**{name: value for name, value in config.items() if name != "model_type"}))
    loud = codec.decoder.decoder[-1].conv
    loud.weight = loud.weight * _LOUDER
    parameters = dict(tree_flatten(codec.parameters()))
    write_json(out / "config.json", config)
    mx.save_safetensors(str(out / "model.safetensors"), dict(_as_published(parameters)), metadata={"format": "pt"})


_SEANET = (
    (r"init_conv1d", "layers.0"),
    (r"layers\.(\d)\.downsample", "layers.{3}"),
    (r"layers\.(\d)\.residuals\.0\.block\.(\d)", "layers.{1}.block.{b}"),
    (r"final_conv1d", "layers.14"),
)
_LAYER = (
    (r"self_attn\.out_proj", "self_attn.o_proj"),
    (r"gating\.linear", "mlp.fc"),
    (r"norm1", "input_layernorm"),
    (r"norm2", "post_attention_layernorm"),
    (r"layer_scale_1", "self_attn_layer_scale"),
    (r"layer_scale_2", "mlp_layer_scale"),
)


def _as_published(parameters: dict[str, mx.array]) -> Iterator[tuple[str, mx.array]]:
    """Yield the codec's weights by the names and in the layout of the published files, which are PyTorch's."""
    for name, value in parameters.items():
        if not name.startswith("encoder_model."):
            yield from _decoding(name, value)
        elif (inner := name.removeprefix("encoder_model.")).startswith("encoder."):
            yield f"encoder.encoder.{_seanet(inner.removeprefix('encoder.'))}", _turned(value) * (_LISTENS if value.ndim == 3 else 1)
        elif inner.startswith("encoder_transformer."):
            yield from _attending(inner.removeprefix("encoder_transformer.transformer."), value)
        elif inner.startswith("downsample."):
            yield f"encoder.downsample.{inner.removeprefix('downsample.conv.conv.')}", _turned(value)
        else:
            yield from _listening(inner, value)


def _turned(value: mx.array) -> mx.array:
    return mx.contiguous(value.swapaxes(-1, -2)) if value.ndim == 3 else value


def _decoding(name: str, value: mx.array) -> Iterator[tuple[str, mx.array]]:
    """Codebooks are stored as sums and how often each code was used."""
    if name.endswith(".codebook.embed.weight"):
        base = name.removesuffix(".codebook.embed.weight")
        yield f"{base}._codebook.embedding_sum", value * 4
        yield f"{base}._codebook.cluster_usage", mx.full((value.shape[0],), 4.0)
    elif re.search(r"upsample\.\d\.0\.conv\.weight|block\.1\.conv\.weight", name):
        yield name, mx.contiguous(value.transpose(2, 0, 1))  # transposed convolutions have their inputs first
    else:
        yield name, _turned(value)


def _seanet(name: str) -> str:
    """mlx-audio has the convolutions by what they do, PyTorch by their place in a list, activations counted."""
    for pattern, places in _SEANET:
        if found := re.match(pattern, name):
            layer = int(found[1]) if found.groups() else 0
            block = 1 + 2 * int(found[2]) if len(found.groups()) > 1 else 0
            place = places.replace("{3}", str(3 + 3 * layer)).replace("{1}", str(1 + 3 * layer)).replace("{b}", str(block))
            return f"{place}{name[found.end() :]}".replace(".conv.conv.", ".conv.")
    message = f"unknown layer {name}"
    raise ValueError(message)


def _attending(name: str, value: mx.array) -> Iterator[tuple[str, mx.array]]:
    if name.endswith("self_attn.in_proj.weight"):
        base = name.removesuffix("in_proj.weight")
        for part, rows in zip("qkv", mx.split(value, 3), strict=True):
            yield f"encoder.encoder_transformer.{base}{part}_proj.weight", rows
        return
    for ours, theirs in _LAYER:
        name = re.sub(ours, theirs, name)
    yield f"encoder.encoder_transformer.{name}", value


def _listening(name: str, value: mx.array) -> Iterator[tuple[str, mx.array]]:
    rest = name.replace("rvq_first", "semantic_residual_vector_quantizer").replace("rvq_rest", "acoustic_residual_vector_quantizer")
    rest = rest.replace(".vq.layers.", ".layers.").replace("embedding_sum", "embed_sum")
    if name.endswith("embedding_sum"):
        yield f"encoder.{rest}", mx.random.normal(value.shape)
    elif name.endswith("cluster_usage"):
        yield f"encoder.{rest}", mx.ones(value.shape)
    else:
        yield f"encoder.{rest}", _turned(value)
