"""Which tiny models there are, and building one by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import mlx.core as mx

from tests.tiny.files import Precision
from tests.tiny.hearing import qwen3_asr, whisper
from tests.tiny.reranking import bert_reranker, modernbert_reranker, qwen3_reranker, xlm_roberta_reranker
from tests.tiny.speech import qwen3_tts, qwen3_tts_base, qwen3_tts_design
from tests.tiny.text import bert, gemma3, llama, qwen3, qwen3_embedding
from tests.tiny.vision import paddleocr_vl, qwen3_5, qwen3_5_moe, qwen3_vl

__all__ = ["FAMILIES", "build", "names"]

FAMILIES: Mapping[str, Callable[[Path, Precision], None]] = {
    "qwen3": qwen3,
    "qwen3_5": qwen3_5,
    "qwen3_5_moe": qwen3_5_moe,
    "qwen3_vl": qwen3_vl,
    "qwen3_embedding": qwen3_embedding,
    "bert": bert,
    "gemma3": gemma3,
    "llama": llama,
    "qwen3_asr": qwen3_asr,
    "whisper": whisper,
    "qwen3_tts": qwen3_tts,
    "qwen3_tts_design": qwen3_tts_design,
    "qwen3_tts_base": qwen3_tts_base,
    "paddleocr_vl": paddleocr_vl,
    "qwen3_reranker": qwen3_reranker,
    "bert_reranker": bert_reranker,
    "xlm_roberta_reranker": xlm_roberta_reranker,
    "modernbert_reranker": modernbert_reranker,
}
# bfloat16 mixtures of experts do not run on CPU; nobody publishes a quantised BERT, or one of its kin.
_UNUSED = {"qwen3_5_moe", "bert-4bit", "whisper-4bit", "bert_reranker-4bit", "xlm_roberta_reranker-4bit", "modernbert_reranker-4bit"}


def names() -> list[str]:
    """Return every name that :func:`build` takes, a bare family being bfloat16."""
    return [f"{family}{suffix}" for family in FAMILIES for suffix in ("-f32", "", "-4bit") if f"{family}{suffix}" not in _UNUSED]


def build(name: str, root: Path) -> Path:
    """Build the tiny model *name* under *root*, the same weights every time.

    Raises:
        ValueError: There is no such model.
    """
    if name not in names():
        message = f"there is no tiny model {name!r}; choose {', '.join(names())}"
        raise ValueError(message)
    family, _, precision = name.partition("-")
    mx.random.seed(list(FAMILIES).index(family))
    out = root / name
    FAMILIES[family](out, Precision.named(precision or "bf16"))
    return out
