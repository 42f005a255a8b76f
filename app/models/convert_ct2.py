"""A CTranslate2 Whisper folder -> a model folder in the hub's layout. numpy alone, no mlx.

CTranslate2 keeps a layer's query, key and value projections in one matrix (key
and value in decoder attention) and layer norms under other names; both are
undone here. Weights keep their float type.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

__all__ = ["convert_ct2", "read_ct2"]

_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_OLDEST_FORMAT = 5
_MULTILINGUAL_VOCABULARY = 51865  # English-only Whisper has one token less
_TIMESTAMPS = 1501  # 0.00 s to 30.00 s in steps of 20 ms

Array = npt.NDArray[Any]


def convert_ct2(source: Path, out: Path) -> None:
    """Convert the folder *source* (``model.bin``, ``config.json``, ``tokenizer.json``) into the folder *out*.

    Raises:
        ValueError: ``model.bin`` holds something other than an unquantised Whisper.
    """
    kind, stored = read_ct2((source / "model.bin").read_bytes())
    if kind != "WhisperSpec" or any(name.endswith("weight_scale") for name in stored):
        message = f"{source / 'model.bin'} is no unquantised Whisper ({kind})"
        raise ValueError(message)
    weights = _whisper_weights(stored)
    save_file(
        {name: np.ascontiguousarray(values) for name, values in weights.items()}, out / "model.safetensors", metadata={"format": "pt"}
    )
    ids = _special_ids(stored)
    _write_json(out / "config.json", {**_config(stored), **ids})
    _write_json(out / "generation_config.json", {**_generation(_read_json(source / "config.json"), stored), **ids})
    _write_json(out / "preprocessor_config.json", _preprocessor(stored))
    _write_tokenizer(out, _read_json(source / "tokenizer.json"), stored)


def read_ct2(blob: bytes) -> tuple[str, dict[str, Array]]:
    """Read a ``model.bin`` of CTranslate2's binary format.

    Returns:
        The specification's name, and name -> array; aliases appear under both names.

    Raises:
        ValueError: The format is older than this reader.
    """
    position = 0

    def take(code: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from(f"<{code}", blob, position)
        position += struct.calcsize(code)
        return int(value)

    def text() -> str:
        nonlocal position
        length = take("H")
        raw = blob[position : position + length]
        position += length
        return raw.split(b"\0", 1)[0].decode()

    if (version := take("I")) < _OLDEST_FORMAT:
        message = f"CTranslate2 format {version} is older than {_OLDEST_FORMAT}"
        raise ValueError(message)
    kind, _revision = text(), take("I")
    arrays: dict[str, Array] = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        dtype, size = np.dtype(_DTYPES[take("B")]), take("I")
        arrays[name] = np.frombuffer(blob, dtype, size // dtype.itemsize, position).reshape(shape)
        position += size
    for _ in range(take("I")):
        alias, original = text(), text()
        arrays[alias] = arrays[original]
    return kind, arrays


def _whisper_weights(stored: Mapping[str, Array]) -> dict[str, Array]:
    weights: dict[str, Array] = {
        "model.encoder.embed_positions.weight": stored["encoder/position_encodings/encodings"],
        "model.decoder.embed_positions.weight": stored["decoder/position_encodings/encodings"],
        "model.decoder.embed_tokens.weight": stored["decoder/embeddings/weight"],
    }
    for convolution in ("conv1", "conv2"):
        weights |= _renamed(stored, f"encoder/{convolution}", f"model.encoder.{convolution}")
    for side in ("encoder", "decoder"):
        weights |= _renamed(stored, f"{side}/layer_norm", f"model.{side}.layer_norm")
        for index in range(_layers(stored, side)):
            weights |= _layer(stored, f"{side}/layer_{index}", f"model.{side}.layers.{index}", decoder=side == "decoder")
    return weights


def _layer(stored: Mapping[str, Array], source: str, target: str, *, decoder: bool) -> dict[str, Array]:
    attention = f"{source}/self_attention"
    weights = _split(stored, f"{attention}/linear_0", [f"{target}.self_attn.{part}_proj" for part in "qkv"])
    weights |= _renamed(stored, f"{attention}/linear_1", f"{target}.self_attn.out_proj")
    weights |= _renamed(stored, f"{attention}/layer_norm", f"{target}.self_attn_layer_norm")
    if decoder:
        cross = f"{source}/attention"
        weights |= _renamed(stored, f"{cross}/linear_0", f"{target}.encoder_attn.q_proj")
        weights |= _split(stored, f"{cross}/linear_1", [f"{target}.encoder_attn.{part}_proj" for part in "kv"])
        weights |= _renamed(stored, f"{cross}/linear_2", f"{target}.encoder_attn.out_proj")
        weights |= _renamed(stored, f"{cross}/layer_norm", f"{target}.encoder_attn_layer_norm")
    weights |= _renamed(stored, f"{source}/ffn/linear_0", f"{target}.fc1")
    weights |= _renamed(stored, f"{source}/ffn/linear_1", f"{target}.fc2")
    return weights | _renamed(stored, f"{source}/ffn/layer_norm", f"{target}.final_layer_norm")


def _renamed(stored: Mapping[str, Array], source: str, target: str) -> dict[str, Array]:
    """Return what *source* has of a weight and a bias; a layer norm calls them gamma and beta."""
    names = {"weight": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}
    return {f"{target}.{new}": stored[f"{source}/{old}"] for old, new in names.items() if f"{source}/{old}" in stored}


def _split(stored: Mapping[str, Array], source: str, targets: Sequence[str]) -> dict[str, Array]:
    """Return the equal parts of a joined projection. Whisper's keys have no bias; CTranslate2 stores zeros for it."""
    weights = np.split(stored[f"{source}/weight"], len(targets))
    biases = np.split(stored[f"{source}/bias"], len(targets))
    parts = {f"{target}.weight": weight for target, weight in zip(targets, weights, strict=True)}
    return parts | {f"{target}.bias": bias for target, bias in zip(targets, biases, strict=True) if not target.endswith("k_proj")}


def _layers(stored: Mapping[str, Array], side: str) -> int:
    return len({name.split("/")[1] for name in stored if name.startswith(f"{side}/layer_") and name.split("/")[1] != "layer_norm"})


def _vocabulary(stored: Mapping[str, Array]) -> int:
    return int(stored["decoder/embeddings/weight"].shape[0])


def _special_ids(stored: Mapping[str, Array]) -> dict[str, int]:
    end = 50257 if _vocabulary(stored) >= _MULTILINGUAL_VOCABULARY else 50256
    return {"decoder_start_token_id": end + 1, "bos_token_id": end, "eos_token_id": end, "pad_token_id": end}


def _config(stored: Mapping[str, Array]) -> dict[str, Any]:
    width = int(stored["decoder/embeddings/weight"].shape[1])
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (
            ("layers", _layers(stored, side)),
            ("attention_heads", int(stored[f"{side}/num_heads"])),
            ("ffn_dim", 4 * width),
        )
    }
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "vocab_size": _vocabulary(stored),
        "num_mel_bins": int(stored["encoder/conv1/weight"].shape[1]),
        "d_model": width,
        **sides,
        "max_source_positions": int(stored["encoder/position_encodings/encodings"].shape[0]),
        "max_target_positions": int(stored["decoder/position_encodings/encodings"].shape[0]),
        "activation_function": "gelu",
        "scale_embedding": False,
        "torch_dtype": str(stored["decoder/embeddings/weight"].dtype),
    }


def _generation(original: Mapping[str, Any], stored: Mapping[str, Array]) -> dict[str, Any]:
    return {
        "alignment_heads": original["alignment_heads"],
        "suppress_tokens": original["suppress_ids"],
        "begin_suppress_tokens": original["suppress_ids_begin"],
        "is_multilingual": _vocabulary(stored) >= _MULTILINGUAL_VOCABULARY,
        "max_length": int(stored["decoder/position_encodings/encodings"].shape[0]),
    }


def _preprocessor(stored: Mapping[str, Array]) -> dict[str, Any]:
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": int(stored["encoder/conv1/weight"].shape[1]),
        "sampling_rate": 16000,
        "hop_length": 160,
        "chunk_length": 30,
        "n_fft": 400,
        "padding_value": 0.0,
        "padding_side": "right",
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "return_attention_mask": False,
    }


def _write_tokenizer(out: Path, tokenizer: dict[str, Any], stored: Mapping[str, Array]) -> None:
    """Write the tokenizer, with the timestamp tokens that CTranslate2's copy leaves out."""
    known = {token["content"] for token in tokenizer["added_tokens"]}
    first = 50364 if _vocabulary(stored) >= _MULTILINGUAL_VOCABULARY else 50363
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    stamps = ({"id": first + step, "content": f"<|{step * 0.02:.2f}|>", **plain} for step in range(_TIMESTAMPS))
    tokenizer["added_tokens"] += [token for token in stamps if token["content"] not in known]
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    end = "<|endoftext|>"
    config = {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
        "pad_token": end,
        "model_max_length": 1024,
        "errors": "replace",
        "add_prefix_space": False,
    }
    _write_json(out / "tokenizer_config.json", config)


def _read_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
