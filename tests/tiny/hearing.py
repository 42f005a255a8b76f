"""Tiny models that hear: Qwen3-ASR in the hub's layout, and a multilingual Whisper in transformers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import mlx.core as mx
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tests.tiny.files import Precision, write_json, write_model
from tests.tiny.text import generation_config, qwen3_config
from tests.tiny.tokenizers import qwen_tokenizer

__all__ = ["qwen3_asr", "whisper"]

_WIDTH = 64
_AUDIO_TOKENS = ("<|audio_start|>", "<|audio_end|>", "<|audio_pad|>", "<asr_text>")
_WHISPER_BASE = 50257  # its text tokens, all but the bytes never used here
_LANGUAGES = 99


def qwen3_asr(out: Path, precision: Precision) -> None:
    """A model with an encoder in windows of 8 s and Qwen3's decoder, which is told what it hears in a system prompt."""
    from mlx_audio.stt.models.qwen3_asr import Model, ModelConfig

    ids = qwen_tokenizer(out, "plain", more=_AUDIO_TOKENS)
    ears = {
        "num_mel_bins": 128,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 128,
        "d_model": _WIDTH,
        "n_window": 50,
        "n_window_infer": 800,
        "conv_chunksize": 500,
        "output_dim": _WIDTH,
        "downsample_hidden_size": 16,
        "max_source_positions": 1500,
    }
    text = qwen3_config(ids) | {"tie_word_embeddings": True}
    thinker: dict[str, Any] = {"model_type": "qwen3_asr", "audio_config": ears, "text_config": text}
    thinker |= {f"audio_{name}token_id": ids[f"<|audio_{mark}|>"] for name, mark in (("", "pad"), ("start_", "start"), ("end_", "end"))}
    config = {
        "architectures": ["Qwen3ASRForConditionalGeneration"],
        "model_type": "qwen3_asr",
        "thinker_config": thinker,
        "support_languages": ["Chinese", "English", "Cantonese", "German", "French"],
    }
    write_model(out, Model(ModelConfig.from_dict(config)), config, precision, quantised=lambda path: not path.startswith("audio_tower"))
    if precision.bits is None:  # mlx-community's are in mlx's own layout, Qwen's as torch has them
        _as_torch_has_it(out / "model.safetensors")
    write_json(out / "generation_config.json", generation_config(ids))
    write_json(out / "preprocessor_config.json", _preprocessor(bands=128))


def whisper(out: Path, precision: Precision) -> None:
    """A Whisper that knows languages and translates. One layer each, and its whole vocabulary."""
    from mlx_audio.stt.models.whisper import Model, ModelConfig

    ids = _whisper_tokenizer(out)
    config = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "vocab_size": 51865,
        "num_mel_bins": 80,
        "d_model": _WIDTH,
        "encoder_layers": 1,
        "encoder_attention_heads": 4,
        "decoder_layers": 1,
        "decoder_attention_heads": 4,
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "eos_token_id": ids["<|endoftext|>"],
    }
    model = Model(ModelConfig.from_dict(config))
    model.decoder.positional_embedding = 0.1 * mx.random.normal((448, _WIDTH))
    write_model(out, model, config, precision)
    write_json(out / "generation_config.json", {"alignment_heads": [[0, 0], [0, 1]]})
    write_json(out / "preprocessor_config.json", _preprocessor(bands=80))


def _as_torch_has_it(file: Path) -> None:
    weights: dict[str, Any] = {
        f"thinker.{name}": array.transpose(0, 3, 1, 2) if "conv2d" in name and array.ndim == 4 else array
        for name, array in cast("dict[str, mx.array]", mx.load(str(file))).items()
    }
    mx.eval(weights)
    mx.save_safetensors(str(file), weights, metadata={"format": "pt"})


def _preprocessor(bands: int) -> dict[str, Any]:
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": bands,
        "sampling_rate": 16000,
        "hop_length": 160,
        "chunk_length": 30,
        "n_fft": 400,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_value": 0.0,
        "padding_side": "right",
        "return_attention_mask": True,
        "dither": 0.0,
    }


def _whisper_tokenizer(out: Path) -> dict[str, int]:
    """Write a tokenizer with Whisper's ids: bytes and fillers as text, then its marks of languages, tasks and times."""
    from mlx_audio.stt.models.whisper.tokenizer import LANGUAGES

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: place for place, letter in enumerate(letters)}
    vocabulary |= {f"filler{place}": place for place in range(len(letters), _WHISPER_BASE)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    languages = [f"<|{code}|>" for code in list(LANGUAGES)[:_LANGUAGES]]
    tasks = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    marks = ["<|endoftext|>", "<|startoftranscript|>", *languages, *(f"<|{task}|>" for task in tasks)]
    times = [f"<|{place * 0.02:.2f}|>" for place in range(1501)]
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in times])
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    end = "<|endoftext|>"
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "bos_token": end, "unk_token": end, "pad_token": end}
    write_json(out / "tokenizer_config.json", config | {"model_max_length": 1024, "clean_up_tokenization_spaces": False})
    return {mark: place for mark, place in tokenizer.get_vocab().items() if mark in marks}
