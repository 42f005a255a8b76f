"""Embedding requests into work for the embedding engine, on any thread, before the GPU is asked.

Nothing is cut off in silence: an input beyond the context is an error unless the
request says ``truncate_prompt_tokens``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.engines.checkpoint import Checkpoint
from app.engines.embedding import load_embedding_engine
from app.engines.embeddings_library import has_embedding_model
from app.engines.ledger import KvAccount
from app.engines.pooling import pooling_of
from app.engines.protocols import EmbeddingWork, Loading, TextWork
from app.engines.tokenizing import Tokenizing
from app.errors import ContextTooLong, InvalidRequest, ModelLoadFailed, UnsupportedTask
from app.models.spec import ModelSpec

__all__ = ["EmbeddingFrontend"]

_SLOTS = 32
# Attention masks grow with the square of the length (4 GB for 32k tokens of Qwen3), so unless the catalog
# allows more, an input may be as long as OpenAI's own models take.
_LONGEST = 8192


class EmbeddingFrontend:
    """A :class:`~app.engines.protocols.Frontend` for models that mlx-embeddings loads."""

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint) -> None:
        """Read tokenizer and configuration.

        Raises:
            ModelLoadFailed: mlx-embeddings does not know the architecture or the pooling, or the tokenizer cannot be loaded.
        """
        if not has_embedding_model(checkpoint.config):
            msg = f"{spec.id} is of the architecture {checkpoint.model_type!r}, which cannot embed text here."
            raise ModelLoadFailed(msg)
        self._spec = spec
        self._checkpoint = checkpoint
        self._pooling = pooling_of(checkpoint)
        self._tokenizing = Tokenizing(checkpoint)
        self.context = self._context()
        self.slots = spec.slots or _SLOTS

    def prepare(
        self,
        work_id: str,
        kind: str,
        request: Mapping[str, Any],
        *,
        seed: int,
        published: Sequence[int] = (),
        alone: bool = False,
    ) -> TextWork | EmbeddingWork:
        """Turn an embedding request into work. Nothing is drawn and nothing taken up, so *seed* and *published* do not matter.

        Raises:
            ContextTooLong: An input is longer than the context and may not be cut.
            InvalidRequest: An input is empty, a token id is not of the vocabulary, or *dimensions* exceeds the vectors'.
            UnsupportedTask: *kind* is not embedding.
        """
        del seed, published
        if kind != "embedding":
            raise UnsupportedTask(self._spec.id, kind, self._spec.tasks)
        width = self._checkpoint.config.get("hidden_size")
        dimensions = request.get("dimensions")
        if dimensions is not None and isinstance(width, int) and dimensions > width:
            msg = f"dimensions is {dimensions}; the vectors of {self._spec.id!r} have {width}; ask for {width} or fewer."
            raise InvalidRequest(msg, param="dimensions")
        most = self._most(request.get("truncate_prompt_tokens"))
        rows = tuple(tuple(self._row(item, most)) for item in texts_of(request["input"]))
        return EmbeddingWork(id=work_id, rows=rows, alone=alone)

    def open(self, account: KvAccount | None = None) -> Loading:
        """Begin to load the weights."""
        del account  # an embedding keeps nothing of its request
        return load_embedding_engine(self._checkpoint, slots=self.slots, pooling=self._pooling)

    def _context(self) -> int:
        stated = self._checkpoint.positions
        if self._tokenizing.longest is not None:
            stated = min(stated, self._tokenizing.longest)
        return min(stated, self._spec.context or _LONGEST)

    def _most(self, truncate: int | None) -> int | None:
        """Return how many tokens an input is cut to, None if it may not be cut."""
        if truncate is None:
            return None
        if truncate > self.context:
            msg = f"truncate_prompt_tokens is {truncate}; this model's context is {self.context} tokens."
            raise InvalidRequest(msg, param="truncate_prompt_tokens")
        return self.context if truncate == -1 else truncate

    def _row(self, item: str | Sequence[int], most: int | None) -> list[int]:
        if isinstance(item, str):
            if most is None:
                self._tokenizing.refuse_hopeless(item, self.context, param="input")
            ids = self._tokenizing.encode(item) if most is None else self._tokenizing.encode_within(item, most)
        else:
            ids = list(item) if most is None else list(item)[:most]
            vocabulary = self._checkpoint.vocab_size
            if strange := next((token for token in ids if token < 0 or (vocabulary is not None and token >= vocabulary)), None):
                msg = f"{strange} is no token id of {self._spec.id!r}, which has {vocabulary}."
                raise InvalidRequest(msg, param="input")
        if not ids:
            msg = "An input has no tokens."
            raise InvalidRequest(msg, param="input")
        if len(ids) > self.context:
            raise ContextTooLong(len(ids), None, self.context, param="input")
        return ids


def texts_of(value: Any) -> Sequence[str | Sequence[int]]:  # noqa: ANN401 - one of four shapes, checked by app.jobs.requests
    """Return the inputs of a request one by one: a text, several, one as token ids, or several."""
    if isinstance(value, str):
        return [value]
    return [value] if isinstance(value[0], int) else value
