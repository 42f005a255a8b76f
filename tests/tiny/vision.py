"""Tiny vision-language models: Qwen3-VL, Qwen3.5 and its mixture of experts, PaddleOCR-VL."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any

from mlx import nn

from tests.tiny.files import Precision, write_json, write_model
from tests.tiny.text import generation_config, qwen3_config
from tests.tiny.tokenizers import VOCAB, paddle_tokenizer, qwen_tokenizer

__all__ = ["paddleocr_vl", "qwen3_5", "qwen3_5_moe", "qwen3_vl"]

_PATCH = 16


def qwen3_vl(out: Path, precision: Precision) -> None:
    """A chat model that sees, with features of a middle vision layer fed in deeper (deepstack)."""
    ids = qwen_tokenizer(out, "plain")
    rope = {"mrope_interleaved": True, "mrope_section": [4, 2, 2], "rope_type": "default"}
    text = qwen3_config(ids) | {"model_type": "qwen3_vl_text", "rope_scaling": rope}
    _write(out, "Qwen3VLForConditionalGeneration", "qwen3_vl", text, ids, precision, deepstack=[0])


def qwen3_5(out: Path, precision: Precision) -> None:
    """A chat model that sees and thinks; every second layer has linear attention, so its cache cannot be trimmed."""
    ids = qwen_tokenizer(out, "qwen3_5")
    _write(out, "Qwen3_5ForConditionalGeneration", "qwen3_5", _hybrid_text(ids, "qwen3_5_text"), ids, precision)


def qwen3_5_moe(out: Path, precision: Precision) -> None:
    """Qwen3.5 with four experts, two at a time. Not in bfloat16, which mixtures of experts lack on CPU."""
    ids = qwen_tokenizer(out, "qwen3_5")
    text = _hybrid_text(ids, "qwen3_5_moe_text")
    del text["intermediate_size"]
    text |= {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "norm_topk_prob": True,
    }
    _write(out, "Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe", text, ids, precision)


def paddleocr_vl(out: Path, precision: Precision) -> None:
    """A model that reads pages. Figures of its text half stand at the root of its configuration."""
    ids = paddle_tokenizer(out)
    config = _paddle_config(ids)
    write_model(out, _model("paddleocr_vl", {**config, "text_config": {}}), config, precision, quantised=lambda path: "visual" not in path)
    write_json(out / "generation_config.json", {"eos_token_id": ids["</s>"], "pad_token_id": ids["<unk>"], "use_cache": False})
    preprocessor = {
        "image_processor_type": "PaddleOCRVLImageProcessor",
        "processor_class": "PaddleOCRVLProcessor",
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "min_pixels": 56 * 56,
        "max_pixels": 112 * 112,
        "merge_size": 2,
        "patch_size": 14,
        "temporal_patch_size": 1,
        "resample": 3,
        "size": {"min_pixels": 56 * 56, "max_pixels": 112 * 112},
    }
    write_json(out / "preprocessor_config.json", preprocessor)
    write_json(out / "processor_config.json", {"processor_class": "PaddleOCRVLProcessor"})


def _paddle_config(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["PaddleOCRVLForConditionalGeneration"],
        "model_type": "paddleocr_vl",
        "hidden_size": 1024,  # mlx-vlm's projector makes no other
        "num_hidden_layers": 2,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": 1e-5,
        "vocab_size": VOCAB,
        "max_position_embeddings": 4096,
        "rope_theta": 500_000.0,
        "use_bias": False,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "rope_scaling": {"mrope_section": [2, 3, 3], "rope_type": "default", "type": "default"},
        "pad_token_id": ids["<unk>"],
        "bos_token_id": ids["<s>"],
        "eos_token_id": ids["</s>"],
        "image_token_id": ids["<|IMAGE_PLACEHOLDER|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|IMAGE_START|>"],
        "vision_end_token_id": ids["<|IMAGE_END|>"],
        "vision_config": {
            "model_type": "paddleocr_vl",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_channels": 3,
            "image_size": 56,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 1,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": 1e-6,
            "tokens_per_second": 2,
        },
    }


def _hybrid_text(ids: dict[str, int], model_type: str) -> dict[str, Any]:
    text = qwen3_config(ids)
    del text["rope_theta"], text["rope_scaling"]
    rope = {"mrope_interleaved": True, "mrope_section": [1, 1, 0], "rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25}
    return text | {
        "model_type": model_type,
        "num_hidden_layers": 4,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_conv_kernel_dim": 4,
        "full_attention_interval": 2,
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "attn_output_gate": True,
        "rope_parameters": rope,
    }


def _write(
    out: Path,
    architecture: str,
    model_type: str,
    text: dict[str, Any],
    ids: dict[str, int],
    precision: Precision,
    *,
    deepstack: list[int] | None = None,
) -> None:
    config = {
        "architectures": [architecture],
        "model_type": model_type,
        "text_config": text,
        "vision_config": _vision_config(model_type, deepstack or []),
        "tie_word_embeddings": False,
        "vocab_size": VOCAB,
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }
    # Published quantisations leave the vision tower in its float type.
    write_model(out, _model(model_type, config), config, precision, quantised=lambda path: "vision" not in path and "visual" not in path)
    write_json(out / "generation_config.json", generation_config(ids))
    _write_preprocessors(out)


def _model(model_type: str, config: dict[str, Any]) -> nn.Module:
    """Make the model from its configuration the way ``mlx_vlm.load`` does; that changes the mapping it is given."""
    from mlx_vlm.utils import update_module_configs

    module = importlib.import_module(f"mlx_vlm.models.{model_type}")
    own = copy.deepcopy(config)
    made: nn.Module = module.Model(update_module_configs(module.ModelConfig.from_dict(own), module, own, ["text", "vision"]))
    return made


def _vision_config(model_type: str, deepstack: list[int]) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "out_hidden_size": 64,
        "num_heads": 2,
        "in_channels": 3,
        "patch_size": _PATCH,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": deepstack,
        "hidden_act": "gelu_pytorch_tanh",
        "initializer_range": 0.02,
    }


def _write_preprocessors(out: Path) -> None:
    common = {
        "patch_size": _PATCH,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "processor_class": "Qwen3VLProcessor",
    }
    image = {"size": {"shortest_edge": 64 * 64, "longest_edge": 256 * 256}, "image_processor_type": "Qwen2VLImageProcessorFast"}
    video = {"size": {"shortest_edge": 4096, "longest_edge": 25165824}, "video_processor_type": "Qwen3VLVideoProcessor"}
    write_json(out / "preprocessor_config.json", common | image)
    write_json(out / "video_preprocessor_config.json", common | video)
