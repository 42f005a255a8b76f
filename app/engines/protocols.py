"""What the GPU thread may expect of an engine, whatever library is behind it.

An engine is opened in two halves. The :class:`Frontend` (configuration,
tokenizer, chat template) is made and used on ordinary threads: it turns a
request into *work*, and refuses what cannot be done before the GPU is asked.
The :class:`Engine` (weights, caches) is made, stepped and freed on the one GPU
thread, because MLX streams and unevaluated arrays belong to a thread.

Nothing here knows Redis, HTTP or job records. An engine never raises for one
request's sake out of ``step``: it returns :class:`Failed` for that request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from app.engines.hearing import Heard, Spans, SpansWork, TranscriptionWork
from app.engines.ranking import Ranked, RerankWork
from app.engines.seeing import Picture
from app.engines.speaking import Sound, SpeechWork, Spoken
from app.errors import InferenceError

if TYPE_CHECKING:
    from app.engines.grammar import Grammar
    from app.engines.ledger import KvAccount
    from app.engines.markup import Markup
    from app.engines.thinking import ThinkingBudget

__all__ = [
    "MOST_PASSED",
    "Conclusion",
    "CountsPrompts",
    "Embedded",
    "EmbeddingWork",
    "Engine",
    "Event",
    "Failed",
    "Finished",
    "Frontend",
    "KeepsRequests",
    "Likelihood",
    "Loading",
    "Picture",
    "Prefilled",
    "Sampling",
    "Sound",
    "SpeechWork",
    "Spoken",
    "TextWork",
    "Tokens",
    "Work",
]

FinishReason = Literal["stop", "length"]

MOST_PASSED = 8
"""How many in a row may go before what nobody waits for, in a line, in turns and in rounds of slices: it is not put off for ever."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one request's tokens are drawn; each request's own, whoever shares its batch.

    The draw at output position *n* depends on ``seed`` and *n* alone, so a
    request gives the same tokens solo, in company, and resumed after a crash.
    """

    seed: int  # 0 <= seed < 2**63
    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0  # 1 is off
    top_k: int = 0  # 0 is off
    min_p: float = 0.0  # 0 is off
    repetition_penalty: float = 1.0  # 1 is off; multiplicative, over prompt and answer (CTRL, arXiv:1909.05858)
    presence_penalty: float = 0.0  # OpenAI's, over the answer alone
    frequency_penalty: float = 0.0  # OpenAI's, over the answer alone
    logit_bias: tuple[tuple[int, float], ...] = ()  # token id, what is added to its logit


@dataclass(frozen=True, slots=True)
class TextWork:
    """One completion to generate."""

    id: str
    prompt: tuple[int, ...]  # token ids, not empty
    max_tokens: int  # of the whole answer, ``published`` included
    sampling: Sampling
    stop: tuple[str, ...] = ()  # matched on decoded text, also across tokens; never part of the answer
    published: tuple[int, ...] = ()  # the answer so far, by an earlier attempt: prefilled, not emitted again
    alone: bool = False  # a suspect: nothing else of this engine may share a slice with it
    logprobs: int | None = None  # report how likely each token was, beside this many of the likeliest; None: do not
    extra: bool = False  # one more answer of a request that has one in the engine: other requests' first ones go before it
    patient: bool = False  # nobody waits for it: others' first answers go before it, in this engine and in others
    ends_loops: bool = False  # an answer that ends in the same few tokens again and again is over
    pictures: tuple[Picture, ...] = ()  # in the order in which the prompt has places for them
    markup: Markup | None = None  # what of the answer's text is markup; None: nothing
    thinking: ThinkingBudget | None = None  # how much may be thought; None: as much as the answer may have
    grammar: Grammar | None = None  # what the answer is held to; it then ends where the grammar does
    echo: str = ""  # the prompt's text, where the caller wants to see it before the answer; engines do not look at it


@dataclass(frozen=True, slots=True)
class EmbeddingWork:
    """Texts to embed, already tokenized and truncated."""

    id: str
    rows: tuple[tuple[int, ...], ...]  # token ids of each text, none empty
    alone: bool = False
    patient: bool = False


Work = TextWork | EmbeddingWork | RerankWork | SpansWork | TranscriptionWork | SpeechWork


@dataclass(frozen=True, slots=True)
class Prefilled:
    """The whole prompt is in the KV cache; the first token comes next."""

    id: str
    cached_tokens: int  # of the prompt, taken from the prefix cache


class Likelihood(NamedTuple):
    """How likely a token was, to the model itself: before temperature, filters, penalties and biases. Natural logarithms."""

    token: bytes  # the token as text; a piece of a character may be no valid UTF-8
    logprob: float  # finite; -9999 where the model ruled it out
    top: tuple[tuple[bytes, float], ...]  # the likeliest tokens at its place, likeliest first


class CallPiece(NamedTuple):
    """The next piece of a call of a tool: the first has its name, all of them together its arguments, a JSON text."""

    number: int  # which call of its answer, from 0
    name: str  # empty after the first piece
    arguments: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """New tokens of one answer, and what may be shown now: never half a character, nothing of a stop string, no markup."""

    id: str
    ids: tuple[int, ...]
    text: str
    logprobs: tuple[Likelihood, ...] = ()  # where the work asks: of each token but one that ends the answer, which is no part of it
    reasoning: str = ""  # what the model thinks before it answers
    calls: tuple[CallPiece, ...] = ()
    runs: tuple[tuple[str, int], ...] = ()  # how they took turns: r, t or c, and how much; none: reasoning, text, calls


@dataclass(frozen=True, slots=True)
class Finished:
    """A completion ended. Its last text, if any, came before in :class:`Tokens`."""

    id: str
    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int  # ``published`` included, the end-of-sequence token included, as OpenAI counts
    cached_tokens: int
    looped: bool = False  # it was over because it repeated itself; ``reason`` is length then
    reasoning_tokens: int = 0  # of the completion's
    stopped_by: str | None = None  # the stop string that ended it


@dataclass(frozen=True, slots=True)
class Embedded:
    """Texts were embedded."""

    id: str
    rows: Any  # numpy float32, shape (len(work.rows), dim), each row of unit norm, all finite
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Failed:
    """One request failed; the others of its slice did not."""

    id: str
    error: InferenceError


Conclusion = Finished | Embedded | Ranked | Spans | Heard | Spoken | Failed
"""The last event about a piece of work."""

Event = Prefilled | Tokens | Sound | Conclusion


class Frontend(Protocol):
    """The half of a model that needs no GPU. Thread-safe; never touches mlx arrays."""

    context: int  # tokens that prompt and answer may have together
    slots: int  # requests that may be in the engine at once

    def prepare(
        self, work_id: str, kind: str, request: Mapping[str, Any], *, seed: int, published: Sequence[int] = (), alone: bool = False
    ) -> Work:
        """Turn a validated request of :mod:`app.jobs.requests` into work.

        Args:
            work_id: The id that every event about it will carry.
            kind: The job's kind, such as ``chat`` or ``ocr``.
            request: The OpenAI body as a plain mapping; of a completion with several prompts, with one of them.
            seed: Used where the request has none; fixed at submission.
            published: What an earlier attempt already published: token ids; of speech, the numbers of the sentences said whole.
            alone: Whether the work must not share a slice.

        Raises:
            ContextTooLong: Prompt and answer cannot fit the context.
            InvalidRequest: The chat template or the tokenizer refuses the request.
        """
        ...

    def open(self, account: KvAccount | None = None) -> Loading:
        """Begin to load the weights. Called and stepped on the GPU thread.

        Args:
            account: Where the engine reserves what it keeps of requests, until it is closed; None: it keeps no books.
                An engine that keeps nothing leaves it alone.
        """
        ...


Loading = Iterator["Engine | None"]
"""A load in bounded slices: yields ``None`` while there is more to do, then the engine, then ends."""


class Engine(Protocol):
    """Weights and caches of one model. Every call comes from the GPU thread."""

    slots: int

    def add(self, work: Work) -> None:
        """Take *work*. It waits inside the engine while every slot is taken."""
        ...

    def cancel(self, work_id: str) -> None:
        """Forget *work_id*, whatever its progress; unknown ids are ignored. No event follows."""
        ...

    @property
    def has_work(self) -> bool:
        """Whether ``step`` would do anything."""
        ...

    def stepping(self) -> Sequence[str]:
        """Return the ids whose tensors the next ``step`` touches: who is charged if it kills the process.

        Quick, and asked more than once before a step, it answers the same.
        """
        ...

    def step(self) -> Sequence[Event]:
        """Do one bounded slice (about 100 ms) and return what came of it."""
        ...

    def close(self) -> None:
        """Drop weights and caches, so that active memory falls to what it was before the load."""
        ...


@runtime_checkable
class CountsPrompts(Protocol):
    """A frontend that can say how long a prompt is, whatever the context."""

    def count(self, request: Mapping[str, Any]) -> int:
        """Return the tokens of a chat's prompt, of which :meth:`Frontend.prepare` would make its work; pictures count too.

        Args:
            request: As :meth:`Frontend.prepare` takes it, of kind ``chat``.

        Raises:
            ContextTooLong: It is so long that nobody counts it to its end.
            InvalidRequest: The chat template or the tokenizer refuses the request.
        """
        ...


@runtime_checkable
class KeepsRequests(Protocol):
    """An engine that keeps something of each request, so that requests may wait for memory."""

    @property
    def wanted_bytes(self) -> int:
        """How much higher the ledger's limit must be before the request at the head of the line fits at all; 0 normally.

        Not what it lacks while others are being answered: it gets that by waiting.
        """
        ...
