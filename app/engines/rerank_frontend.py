"""Rerank requests into work for the engine that ranks, on any thread, before the GPU is asked.

Nothing is cut off in silence: a document that does not fit beside its query is an
error unless the request says how much of it, or of both together, is to be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.engines.checkpoint import Checkpoint
from app.engines.ledger import KvAccount
from app.engines.protocols import Loading, Work
from app.engines.ranking import RerankWork
from app.engines.rerank_formats import JudgeFormat, PairFormat, Question, RerankFormat, Row
from app.engines.reranking import load_rerank_engine
from app.engines.reranking_library import RerankerKind, kind_of
from app.engines.tokenizing import Tokenizing
from app.errors import ContextTooLong, InvalidRequest, ModelLoadFailed, UnsupportedTask
from app.models.spec import ModelSpec

__all__ = ["RerankFrontend"]

_SLOTS = 32
# As Qwen3-Reranker's model card has it, and as inputs that are embedded; unless the catalog allows more.
_LONGEST = 8192


class RerankFrontend:
    """A :class:`~app.engines.protocols.Frontend` for models that rank documents."""

    def __init__(self, spec: ModelSpec, checkpoint: Checkpoint) -> None:
        """Read tokenizer and configuration.

        Raises:
            ModelLoadFailed: mlx-vlm cannot rank with this architecture, or the tokenizer cannot be loaded.
        """
        kind = kind_of(checkpoint.config)
        if kind is None:
            msg = f"{spec.id} is of the architecture {checkpoint.model_type!r}, which cannot rank documents here."
            raise ModelLoadFailed(msg)
        self._spec = spec
        self._checkpoint = checkpoint
        self._kind = kind
        self._tokenizing = Tokenizing(checkpoint)
        self._format: RerankFormat = JudgeFormat(self._tokenizing, spec.id) if kind is RerankerKind.JUDGE else PairFormat(self._tokenizing)
        places = checkpoint.positions if self._tokenizing.longest is None else min(checkpoint.positions, self._tokenizing.longest)
        self.context = min(places, spec.context or _LONGEST)
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
    ) -> Work:
        """Turn a rerank request into work. Nothing is drawn and nothing taken up, so *seed* and *published* do not matter.

        Raises:
            ContextTooLong: The query, or a document beside it, is longer than the context and may not be cut.
            InvalidRequest: The limits leave no room for any document, or the model takes no instruction.
            UnsupportedTask: *kind* is not rerank.
        """
        del seed, published
        if kind != "rerank":
            raise UnsupportedTask(self._spec.id, kind, self._spec.tasks)
        question = Question(request["query"], request.get("instruction"))
        most = self._most(request.get("truncate_prompt_tokens"))
        frame = self._frame(question, most)
        if of_each := request.get("max_tokens_per_doc"):
            most = frame + of_each if most is None else min(most, frame + of_each)
        rows = [self._row(question, number, text, most) for number, text in enumerate(texts_of(request["documents"]))]
        return RerankWork(
            id=work_id,
            rows=tuple(tuple(row.ids) for row in rows),
            documents_at=tuple(row.document_at for row in rows),
            alone=alone,
        )

    def open(self, account: KvAccount | None = None) -> Loading:
        """Begin to load the weights."""
        del account  # a verdict keeps nothing of its request
        pad = self._checkpoint.config.get("pad_token_id")
        return load_rerank_engine(
            self._checkpoint,
            self._kind,
            self._format.verdict,
            slots=self.slots,
            pad=pad if isinstance(pad, int) and self._kind is RerankerKind.CLASSIFIER else 0,
            longest=self._checkpoint.positions,
        )

    def _most(self, truncate: int | None) -> int | None:
        """Return how many tokens a query and a document are cut to, None if they may not be cut."""
        if truncate is None:
            return None
        if truncate > self.context:
            msg = f"truncate_prompt_tokens is {truncate}; this model's context is {self.context} tokens."
            raise InvalidRequest(msg, param="truncate_prompt_tokens")
        return self.context if truncate == -1 else truncate

    def _frame(self, question: Question, most: int | None) -> int:
        """Return the tokens of a row that are not its document's; refuse a query beside which no document has room."""
        for name, text in (("query", question.query), ("instruction", question.instruction or "")):
            self._tokenizing.refuse_hopeless(text, self.context, param=name)
        limit = self.context if most is None else most
        frame = self._format.frame(question)
        if frame < limit:
            return frame
        if most is None or most == self.context:
            raise ContextTooLong(frame, None, self.context, param="query")
        msg = f"truncate_prompt_tokens is {most}, which leaves no room for a document beside the query; raise it."
        raise InvalidRequest(msg, param="truncate_prompt_tokens")

    def _row(self, question: Question, number: int, text: str, most: int | None) -> Row:
        param = f"documents.{number}"
        if most is None:
            self._tokenizing.refuse_hopeless(text, self.context, param=param)
        else:
            text = self._tokenizing.clip(text, most)
        row = self._format.row(question, text, most)
        if len(row.ids) > self.context:
            raise ContextTooLong(len(row.ids), None, self.context, param=param)
        return row


def texts_of(documents: Sequence[str | Mapping[str, str]]) -> list[str]:
    """Return the texts of documents, which come bare or as objects."""
    return [document if isinstance(document, str) else document["text"] for document in documents]
