"""How a query and a document become one row of tokens: as the model was trained to read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from app.engines.reranking import Verdict, classified, judged
from app.engines.tokenizing import Tokenizing
from app.errors import InvalidRequest, ModelLoadFailed

__all__ = ["JudgeFormat", "PairFormat", "Question", "RerankFormat", "Row"]

# Of Qwen3-Reranker's model card.
_SYSTEM: Final = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
_BEFORE: Final = f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n<|im_start|>user\n"
_AFTER: Final = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
_INSTRUCTION: Final = "Given a web search query, retrieve relevant passages that answer the query"


class Row(NamedTuple):
    """A query with one document."""

    ids: list[int]
    document_at: int  # where the document's segment begins; the row's length where the model has one segment


@dataclass(frozen=True, slots=True)
class Question:
    """What documents are compared with."""

    query: str
    instruction: str | None = None  # what makes a document a good one


class RerankFormat(Protocol):
    """The format of one model. Thread-safe."""

    @property
    def verdict(self) -> Verdict:
        """How the model's scores are had."""
        ...

    def frame(self, question: Question) -> int:
        """Return the tokens of a row that are not its document's.

        Raises:
            InvalidRequest: The model cannot be asked that.
        """
        ...

    def row(self, question: Question, document: str, most: int | None) -> Row:
        """Return *question* and *document* as one row, the document's end cut off so that it has *most* tokens at most; None: uncut."""
        ...


class JudgeFormat:
    """Qwen3-Reranker's: a conversation that ends where yes or no comes next."""

    def __init__(self, tokenizing: Tokenizing, name: str) -> None:
        """Look for the two answers.

        Raises:
            ModelLoadFailed: The vocabulary lacks one: this is no such model.
        """
        self._tokenizing = tokenizing
        self._before = tokenizing.encode_bare(_BEFORE)
        self._after = tokenizing.encode_bare(_AFTER)
        yes, no = tokenizing.token_id("yes"), tokenizing.token_id("no")
        if yes is None or no is None:
            msg = f"{name} has no tokens 'yes' and 'no', which it would have to answer with to rank documents."
            raise ModelLoadFailed(msg)
        self.verdict = judged(yes, no)

    def frame(self, question: Question) -> int:
        """Return the tokens of the conversation around a document."""
        return len(self._before) + len(self._tokenizing.encode_bare(_about(question))) + len(self._after)

    def row(self, question: Question, document: str, most: int | None) -> Row:
        """Return the conversation about *document*."""
        about = self._tokenizing.encode_bare(f"{_about(question)} {document}")
        if most is not None:
            about = about[: most - len(self._before) - len(self._after)]
        ids = [*self._before, *about, *self._after]
        return Row(ids, len(ids))


class PairFormat:
    """That of encoders with a head: the query, a separator, the document, as the tokenizer joins pairs."""

    verdict = staticmethod(classified)

    def __init__(self, tokenizing: Tokenizing) -> None:
        self._tokenizing = tokenizing

    def frame(self, question: Question) -> int:
        """Return the tokens of the query and the separators.

        Raises:
            InvalidRequest: There is an instruction.
        """
        if question.instruction is not None:
            msg = "This model takes no instruction: it was trained for one task; leave it out."
            raise InvalidRequest(msg, param="instruction")
        return len(self._tokenizing.encode_pair(question.query, "", None)[0])

    def row(self, question: Question, document: str, most: int | None) -> Row:
        """Return the pair."""
        return Row(*self._tokenizing.encode_pair(question.query, document, most))


def _about(question: Question) -> str:
    return f"<Instruct>: {question.instruction or _INSTRUCTION}\n<Query>: {question.query}\n<Document>:"
