"""The real models of the built-in catalog as figures: what their configurations say, and what their weights take.

No file of theirs is here. Each entry says where its figures come from. Parameters are counted from shapes and
multiplied by what their storage takes: 4-bit in groups of 64 is 4.5 bits a weight (a scale and a bias of 16 bits
for each group), 6-bit 6.5, 8-bit 8.5. Norms and biases are left out: together they are less than 0.1%.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.models.footprint import Footprint, footprint_of
from app.models.spec import Task

__all__ = ["PUBLISHED", "Published"]

_GROUP_BITS = 32 / 64  # scale and bias of a group, for each of its weights
_QWEN_WORDS = 151_936


@dataclass(frozen=True, slots=True)
class Published:
    """One model of the hub."""

    tasks: tuple[Task, ...]
    context: int
    config: Mapping[str, Any]
    bits: int  # of the quantised weights; 16: none are
    quantised: int  # weights
    kept: int  # weights that stay in 16 bits
    source: str
    float32: int = 0  # weights that stay in 32 bits

    @property
    def parameters(self) -> int:
        return self.quantised + self.kept + self.float32

    @property
    def footprint(self) -> Footprint:
        """What it needs on a GPU."""
        stored = {
            "U32": self.quantised * self.bits // 8,
            "BF16": int(self.quantised * _GROUP_BITS / 8) + 2 * self.kept,
            "F32": 4 * self.float32,
        }
        return footprint_of(self.config, stored, self.tasks, self.context, cpu=False)


def _decoder(config: Mapping[str, int]) -> int:
    """Count the weights of Qwen3's layers, which Gemma's and ERNIE's share: projections, and a gated feed-forward part."""
    hidden, head_dim = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    return config["num_hidden_layers"] * (2 * hidden * (queries + keys) + 3 * hidden * config["intermediate_size"])


def _encoder(layers: int, width: int, forward: int) -> int:
    """Count the weights of an encoder's layers: projections, and a plain feed-forward part."""
    return layers * (4 * width * width + 2 * width * forward)


def _figures(hidden: int, layers: int, heads: int, keys: int, forward: int, words: int, head_dim: int = 128) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "head_dim": head_dim,
        "intermediate_size": forward,
        "vocab_size": words,
    }


_QWEN3_14B = _figures(5120, 40, 40, 8, 17_408, _QWEN_WORDS) | {"model_type": "qwen3"}
_EMBEDDING_06B = _figures(1024, 28, 16, 8, 3072, 151_669) | {"model_type": "qwen3"}
_EMBEDDING_4B = _figures(2560, 36, 32, 8, 9728, 151_665) | {"model_type": "qwen3"}
_GEMMA_12B = _figures(3840, 48, 16, 8, 15_360, 262_208, 256) | {"model_type": "gemma3_text", "sliding_window": 1024}
_ASR_TEXT = _figures(2048, 28, 16, 8, 6144, _QWEN_WORDS)
_ASR_AUDIO = {"num_mel_bins": 128, "downsample_hidden_size": 480}
_OCR_TEXT = _figures(1024, 18, 16, 2, 3072, 103_424) | {"model_type": "paddleocr_vl"}
_TALKER = _figures(2048, 28, 16, 8, 6144, 3072)
_PREDICTOR = _figures(1024, 5, 16, 8, 3072, 2048)
_QWEN35 = {
    "model_type": "qwen3_5_moe_text",
    "hidden_size": 2048,
    "num_hidden_layers": 40,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "full_attention_interval": 4,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "num_experts": 256,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "vocab_size": 248_320,
}
_EYES = {"hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16, "intermediate_size": 4304}
_WHISPER = {"model_type": "whisper", "n_audio_ctx": 1500, "n_audio_head": 20, "n_text_layer": 4, "n_text_state": 1280, "n_vocab": 51_866}


def _qwen35_weights() -> int:
    full = 10 * 2048 * (2 * 4096 + 2 * 512 + 4096)  # queries come with a gate
    linear = 30 * 2048 * (8192 + 4096 + 2 * 32 + 4096)
    experts = 40 * (2048 * 256 + 257 * 3 * 2048 * 512)
    return full + linear + experts + 2 * 2048 * 248_320


PUBLISHED: Mapping[str, Published] = {
    "qwen3-14b": Published(
        (Task.CHAT,), 40_960, _QWEN3_14B, 4, _decoder(_QWEN3_14B) + 2 * 5120 * _QWEN_WORDS, 0,
        "layers and heads as published; the widths were not read from a file: they give the published 14.8B, 13.2B without embeddings",
    ),
    "qwen3.5-35b": Published(
        (Task.CHAT, Task.VISION), 262_144, {"model_type": "qwen3_5_moe", "text_config": _QWEN35, "vision_config": _EYES}, 4,
        _qwen35_weights(), _encoder(27, 1152, 4304) + 34_000_000,
        "transformers 5.23, Qwen3_5MoeTextConfig and -VisionConfig, whose defaults are those of Qwen/Qwen3.5-35B-A3B",
    ),
    "qwen3-embedding-0.6b": Published(
        (Task.EMBEDDING,), 32_768, _EMBEDDING_06B, 4, _decoder(_EMBEDDING_06B) + 1024 * 151_669, 0,
        "Qwen3-0.6B's shapes, which keras-hub counts as 596M; 151,669 words were not read from a file, and 151,936 add 0.05%",
    ),
    "qwen3-embedding-4b": Published(
        (Task.EMBEDDING,), 32_768, _EMBEDDING_4B, 4, _decoder(_EMBEDDING_4B) + 2560 * 151_665, 0,
        "Qwen3-4B's shapes, from slime scripts/models/qwen3-4B.sh; the number of words was not read from a file",
    ),
    "gemma-3-12b": Published(
        (Task.CHAT,), 131_072, _GEMMA_12B, 4, _decoder(_GEMMA_12B) + 3840 * 262_208, 0,
        "google/gemma-3-12b-it config.json as public code quotes it, the rest from mlx-vlm 0.7.10; keras-hub counts 11.77B",
    ),
    "paddleocr-vl-6bit": Published(
        (Task.OCR, Task.VISION), 131_072, {"model_type": "paddleocr_vl", "text_config": _OCR_TEXT, "vision_config": _EYES}, 6,
        _decoder(_OCR_TEXT) + 2 * 1024 * 103_424, _encoder(27, 1152, 4304) + 26_000_000,
        "mlx-vlm 0.7.10, paddleocr_vl/config.py; its converter leaves the eyes in 16 bits; the projector is an estimate",
    ),
    "qwen3-asr-1.7b": Published(
        (Task.ASR,), 65_536, {"model_type": "qwen3_asr", "thinker_config": {"text_config": _ASR_TEXT, "audio_config": _ASR_AUDIO}}, 8,
        _decoder(_ASR_TEXT) + 2048 * _QWEN_WORDS, _encoder(24, 1024, 4096) + 15_000_000,
        "mlx-audio 0.6.2, qwen3_asr/config.py; its converter leaves the ears in 16 bits; others report 2.5 GB of files",
    ),
    "whisper-large-v3-turbo": Published(
        (Task.ASR,), 448, _WHISPER, 16, 0, 809_000_000,
        "the published 809M parameters; dimensions of large-v3 (defaults of mlx-audio 0.6.2) with 4 decoder layers",
    ),
    "qwen3-tts": Published(
        (Task.TTS,), 32_768, {"model_type": "qwen3_tts", "tts_model_type": "custom_voice", "talker_config": _TALKER}, 8,
        _decoder(_TALKER) + _decoder(_PREDICTOR) + 3072 * 2048 + 15 * 2048 * 1024, 2048 * (_QWEN_WORDS + 3072 + 15 * 2048),
        "mlx-audio 0.6.2, qwen3_tts/config.py, with the widths of Qwen3-1.7B, which give 1.7B (a port's page says 8192 instead of 6144, "
        "which would be 0.4 GB more and 2.1B); its converter leaves embeddings in 16 bits; "
        "the codec's 682 MB of float32 as reported for the 0.6B model, which has the same",
        float32=170_500_000,
    ),
}  # fmt: skip
"""By catalog id. ``fmt: skip``: one line of figures, one of their source."""
