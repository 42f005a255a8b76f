"""The engines under test: what they are made of, and work for them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from transformers import AutoTokenizer

from app.engines import embeddings_library, speech_library, vlm_library
from app.engines.checkpoint import Checkpoint
from app.engines.detokenize import detokenizer_for, spelling
from app.engines.embedding import EmbeddingEngine
from app.engines.grammar import Grammars
from app.engines.kv_admission import KvAdmission
from app.engines.ledger import KvAccount
from app.engines.pooling import pooling_of
from app.engines.protocols import EmbeddingWork, Engine, Frontend, Sampling, TextWork, Work
from app.engines.ranking import RerankWork
from app.engines.registry import open_frontend
from app.engines.reranking import RerankEngine
from app.engines.speaking import SpeechWork
from app.engines.speech import SpeechEngine
from app.engines.speech_books import SpeechBooks
from app.engines.text import TextEngine
from app.models.footprint import Footprint, read_footprint
from app.models.spec import ModelSpec, Task

__all__ = ["EMBEDDING", "RERANK", "SPEECH", "TEXT", "Subject", "poisoned", "with_nan"]

# f32 alone: elsewhere sums depend on the shape of the batch, and answers with them.
TEXT = ("qwen3-f32", "qwen3_5-f32", "qwen3_vl-f32")
EMBEDDING = ("bert-f32", "qwen3_embedding-f32")
RERANK = ("qwen3_reranker-f32",)  # test_reranking.py has the others: they differ in what a row is, not in how rows are batched
SPEECH = ("qwen3_tts-f32",)

# A token that no other work has: the one that faults hang on.
FAULTY_TOKEN = 11
_WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "while",
    "seven",
    "wizards",
    "box",
    "and",
    "sing",
    "of",
    "autumn",
)


_OF_THE_WORK = {"stop", "published", "prompt", "logprobs"}


class Subject:
    """One engine over one tiny model."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        kinds = {"tts": name.startswith("qwen3_tts"), "embedding": name in EMBEDDING, "rerank": "_reranker" in name}
        self.kind = next((kind for kind, its in kinds.items() if its), "chat")
        self._opened: list[Engine] = []

    def frontend(self, **spec: Any) -> Frontend:  # noqa: ANN401 - fields of ModelSpec
        fields = {"id": "tiny", "repo": str(self.directory), "tasks": [self.kind], **spec}
        return open_frontend(ModelSpec.model_validate(fields), self.directory)

    @cached_property
    def tokenizer(self) -> Any:  # noqa: ANN401 - of transformers
        return AutoTokenizer.from_pretrained(self.directory)

    @cached_property
    def grammars(self) -> Grammars:
        ends = Checkpoint.read(self.directory).eos_token_ids
        return Grammars(spelling(self.tokenizer), self.tokenizer.all_special_ids, ends)

    @cached_property
    def footprint(self) -> Footprint:
        cpu = mx.default_device().type == mx.DeviceType.cpu
        return read_footprint(self.directory, [Task(self.kind)], Checkpoint.read(self.directory).context, cpu=cpu)

    def open(
        self,
        *,
        slots: int = 16,
        change: Callable[[nn.Module], None] | None = None,
        cache_bytes: int = 0,
        ends: Collection[int] | None = None,
        account: KvAccount | None = None,
    ) -> Engine:
        """Return an engine. It is closed after the test.

        Args:
            slots: Requests at once.
            change: Damages the model first.
            cache_bytes: Size of the text engine's prefix cache.
            ends: Tokens that end an answer, instead of the model's own.
            account: Where the text engine reserves what it keeps.
        """
        checkpoint = Checkpoint.read(self.directory)
        engine: Engine
        if self.kind == "embedding":
            pooling = pooling_of(checkpoint)
            model = embeddings_library.load_lazily(self.directory, pooling)
            engine = EmbeddingEngine(changed(model, change), slots=slots, pooling=pooling)
        elif self.kind == "tts":
            model = speech_library.load_lazily(self.directory, checkpoint.generation, self.tokenizer.encode)
            speech_library.finish_loading(model)
            engine = SpeechEngine(changed(model, change), slots=slots, books=SpeechBooks(self.footprint, account))
        elif self.kind == "rerank":
            *_, ranking = self.frontend(slots=slots).open()
            assert isinstance(ranking, RerankEngine)
            engine = ranking
            model = ranking._model  # noqa: SLF001 - its frontend chooses how it is loaded
            changed(model.language_model.model if hasattr(model, "language_model") else model, change)
        else:
            model = vlm_library.load_lazily(self.directory)
            engine = TextEngine(
                changed(model, change),
                slots=slots,
                eos_token_ids=checkpoint.eos_token_ids if ends is None else frozenset(ends),
                detokenizer=detokenizer_for(self.tokenizer),
                spelled=spelling(self.tokenizer),
                cache_bytes=cache_bytes,
                kv=KvAdmission(self.footprint, account),
            )
        self._opened.append(engine)
        return engine

    def close(self, engine: Engine) -> None:
        self._opened.remove(engine)
        engine.close()

    def close_all(self) -> None:
        while self._opened:
            self._opened.pop().close()

    def tokens(self, number: int, length: int = 12) -> tuple[int, ...]:
        """Return token ids of a text that *number* makes its own."""
        words = [_WORDS[(number * 7 + place * (number + 1)) % len(_WORDS)] for place in range(length)]
        ids = self.tokenizer.encode(f"{number}: {' '.join(words)}", add_special_tokens=False)
        return tuple(token for token in ids if token != FAULTY_TOKEN)[:400]  # BERT has 512 positions

    def work(self, number: int, *, alone: bool = False, faulty: bool = False, size: int = 12, **parameters: Any) -> Work:  # noqa: ANN401
        """Return the work *number*: the same each time, unlike that of any other number.

        Args:
            number: Which.
            alone: See :class:`~app.engines.protocols.TextWork`.
            faulty: Whether it has the token that damaged models fail on.
            size: Tokens to generate, or about how many words to embed.
            **parameters: Fields of ``Sampling``, and ``stop``, ``published``, ``prompt``, ``logprobs``.
        """
        fault = (FAULTY_TOKEN,) if faulty else ()
        if self.kind == "embedding":
            rows = tuple((*self.tokens(number * 10 + row, size + row), *fault) for row in range(3))
            return EmbeddingWork(f"work-{number}", rows, alone)
        if self.kind == "rerank":
            rows = tuple((*self.tokens(number * 10 + row, size + row), *fault) for row in range(3))
            return RerankWork(f"work-{number}", rows, tuple(len(row) // 2 for row in rows), alone)
        if self.kind == "tts":
            said = " ".join(_WORDS[number % 5 : number % 5 + 4])
            return SpeechWork(
                f"work-{number}",
                (f"{number}. {said}{self.tokenizer.decode(fault)}", said),
                (size // 3, size // 4),
                seed=number,
                voice="vivian",
                alone=alone,
                prompt_tokens=100,
            )
        mine: Mapping[str, Any] = {"seed": number, "temperature": 0.0 if number % 2 == 0 else 1.5, **parameters}
        return TextWork(
            id=f"work-{number}",
            prompt=mine.get("prompt") or (*self.tokens(number), *fault),
            max_tokens=size,
            sampling=Sampling(**{name: value for name, value in mine.items() if name not in _OF_THE_WORK}),
            stop=mine.get("stop", ()),
            published=mine.get("published", ()),
            alone=alone,
            logprobs=mine.get("logprobs"),
        )


def changed(model: nn.Module, change: Callable[[nn.Module], None] | None) -> nn.Module:
    if change is not None:
        change(model)
    return model


def poisoned(model: nn.Module) -> None:
    """Make *model* raise on every batch that has the faulty token."""
    inner = model.talker.model.text_embedding if hasattr(model, "talker") else getattr(model, "language_model", model)
    healthy = type(inner)

    def call(self: nn.Module, inputs: mx.array, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        if mx.any(inputs == FAULTY_TOKEN).item():
            message = "this model breaks on that token"
            raise RuntimeError(message)
        return healthy.__call__(self, inputs, *arguments, **named)

    inner.__class__ = type("Poisoned", (healthy,), {"__call__": call})


def with_nan(model: nn.Module) -> None:
    """Make every row that has the faulty token come out as NaN."""
    if hasattr(model, "talker"):
        model.talker.model.text_embedding.weight[FAULTY_TOKEN] = mx.nan
        return
    inner = getattr(model, "language_model", model)
    table = inner.embeddings.word_embeddings if hasattr(inner, "embeddings") else getattr(inner, "model", inner).embed_tokens
    table.weight[FAULTY_TOKEN] = mx.nan
