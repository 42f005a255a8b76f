"""The engine that generates text: continuous batching over one language model.

Requests enter in the order they came, one prompt being read at a time, while
every other answer goes on. A request's further answers leave a quarter of the
slots to others, who overtake them a bounded number of times. What a request gets
does not depend on its company.
A failure ends the request that caused it: when several shared the slice, each
is tried again by itself, from the tokens that it has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from mlx import nn

from app.engines.answer import Answer
from app.engines.checkpoint import Checkpoint
from app.engines.detokenize import Detokenizer
from app.engines.device import prefix_cache_bytes, release_memory
from app.engines.faults import LIBRARY_ERRORS, NOT_FINITE, engine_failed
from app.engines.likelihoods import Drawn
from app.engines.loading import evaluate_in_slices, load_failed
from app.engines.pace import Pace
from app.engines.protocols import EmbeddingWork, Event, Failed, Finished, Likelihood, Prefilled, TextWork, Tokens
from app.engines.sampling import NOT_A_TOKEN
from app.engines.vlm_library import TextBatch, load_lazily
from app.errors import EngineFailed

__all__ = ["TextEngine", "load_text_engine"]

_MOST_OVERTAKEN = 8


def load_text_engine(
    checkpoint: Checkpoint, *, slots: int, eos_token_ids: frozenset[int], detokenizer: Callable[[], Detokenizer], spelled: Sequence[bytes]
) -> Iterator[TextEngine | None]:
    """Load the model in slices; the last thing yielded is its engine.

    Raises:
        ModelLoadFailed: The weights do not fit the configuration, or cannot be read.
    """
    model: nn.Module | None = None
    try:
        model = load_lazily(checkpoint.directory)
        yield None
        for _ in evaluate_in_slices(model):
            yield None
    except LIBRARY_ERRORS as error:
        model = None
        raise load_failed(checkpoint.directory.name, error) from None
    yield TextEngine(model, slots=slots, eos_token_ids=eos_token_ids, detokenizer=detokenizer, spelled=spelled)


class TextEngine:
    """An :class:`~app.engines.protocols.Engine` for :class:`~app.engines.protocols.TextWork`."""

    def __init__(
        self,
        model: nn.Module,
        *,
        slots: int,
        eos_token_ids: frozenset[int],
        detokenizer: Callable[[], Detokenizer],
        spelled: Sequence[bytes] = (),
        cache_bytes: int | None = None,
    ) -> None:
        """Take over *model*.

        Args:
            model: A loaded mlx-vlm model.
            slots: Answers that grow at once.
            eos_token_ids: Tokens that end an answer.
            detokenizer: Makes the detokenizer of an answer.
            spelled: The bytes of every token, for work that asks how likely its tokens were.
            cache_bytes: Size of the prefix cache, 0 for none; unset: by the device's memory.
        """
        self.slots = slots
        self._model = model
        self._eos_token_ids = eos_token_ids
        self._detokenizer = detokenizer
        self._spelled = spelled
        self._cache_bytes = prefix_cache_bytes() if cache_bytes is None else cache_bytes
        self._pace = Pace(start=256, least=64, most=2048)
        self._waiting: deque[Answer] = deque()
        self._overtaken = 0  # first answers that entered since the last further one did, while one waited
        self._running: dict[int, Answer] = {}  # row of the batch -> answer, in order of admission
        self._batch = self._new_batch()

    def add(self, work: TextWork | EmbeddingWork) -> None:
        """Take *work*.

        Raises:
            TypeError: It is not text to generate.
        """
        if not isinstance(work, TextWork):
            msg = f"a text engine does not take {type(work).__name__}"
            raise TypeError(msg)
        self._waiting.append(Answer(work, self._detokenizer, self._eos_token_ids))

    def cancel(self, work_id: str) -> None:
        """Forget *work_id* and free its slot and its keys and values."""
        self._waiting = deque(answer for answer in self._waiting if answer.work.id != work_id)
        for row in [row for row, answer in self._running.items() if answer.work.id == work_id]:
            del self._running[row]
            try:
                self._batch.remove(row)
            except LIBRARY_ERRORS:  # removing evaluates what was queued for the rows beside it
                self._restart()

    @property
    def has_work(self) -> bool:
        """Whether ``step`` would do anything."""
        return bool(self._waiting or self._running)

    def stepping(self) -> Sequence[str]:
        """Return the answers that the next step touches: all that run, and the one it will admit."""
        answers = list(self._running.values())
        incoming = self._admissible()
        return [answer.work.id for answer in (answers if incoming is None else [*answers, incoming])]

    def step(self) -> Sequence[Event]:
        """Admit who may enter, decode one token of every answer, and read one piece of one prompt."""
        events = self._admit()
        if not self._running:
            return events
        try:
            tick = self._batch.step()
        except LIBRARY_ERRORS as error:
            return [*events, *self._recover(error)]
        for row, cached in tick.prefilled:
            answer = self._running[row]
            answer.cached_tokens = min(cached, len(answer.work.prompt))
            if not answer.prefilled:
                answer.prefilled = True
                events.append(Prefilled(answer.work.id, answer.cached_tokens))
        for row, token in tick.tokens:
            events.extend(self._grow(row, token, tick.drawn.get(row)))
        return events

    def close(self) -> None:
        """Drop weights, answers and prefix cache."""
        self._waiting.clear()
        self._running.clear()
        self._batch.close()
        del self._batch, self._model
        release_memory()

    def _admit(self) -> list[Event]:
        """Let the next answer in if it may enter. One that an earlier attempt had completed ends here, untouched by the GPU."""
        events: list[Event] = [_finished(answer) for answer in self._waiting if answer.finish is not None]
        if events:
            self._waiting = deque(answer for answer in self._waiting if answer.finish is None)
        answer = self._admissible()
        if answer is None:
            return events
        self._waiting.remove(answer)
        others_wait = any(other.work.extra for other in self._waiting)
        self._overtaken = self._overtaken + 1 if others_wait and not answer.work.extra else 0
        try:
            row = self._batch.insert(answer.tokens, len(answer.ids), answer.missing, answer.work.sampling, answer.work.logprobs)
        except LIBRARY_ERRORS as error:
            return [*events, Failed(answer.work.id, engine_failed(error))]
        self._running[row] = answer
        return events

    def _admissible(self) -> Answer | None:
        """Return the answer that may enter now: the next in line, never one behind it."""
        if self._batch.prefilling or len(self._running) >= self.slots:
            return None
        following = self._next_in_line()
        if following is None:
            return None
        kept_apart = following.alone or any(answer.alone for answer in self._running.values())
        return None if kept_apart and self._running else following

    def _next_in_line(self) -> Answer | None:
        """Return whose turn it is: a request's first answer, unless a further one has been overtaken often enough."""
        unfinished = [answer for answer in self._waiting if answer.finish is None]
        first = next((answer for answer in unfinished if not answer.work.extra), None)
        further = next((answer for answer in unfinished if answer.work.extra), None)
        if further is None or (first is not None and self._overtaken < _MOST_OVERTAKEN):
            return first
        if first is None and len(self._running) >= self.slots - self.slots // 4:
            return None
        return further

    def _grow(self, row: int, token: int, drawn: Drawn | None) -> list[Event]:
        """Add *token* to the answer of *row* and return what came of it."""
        answer = self._running[row]
        if token == NOT_A_TOKEN:
            del self._running[row]
            return [Failed(answer.work.id, EngineFailed(NOT_FINITE))]
        seen = () if drawn is None or token in self._eos_token_ids else (self._likelihood(token, drawn),)
        events: list[Event] = [Tokens(answer.work.id, (token,), answer.take(token), seen)]
        if answer.finish is not None:
            del self._running[row]
            self._batch.remove(row)  # a stop string is known here alone; at any other end the row has left
            events.append(_finished(answer))
        return events

    def _likelihood(self, token: int, drawn: Drawn) -> Likelihood:
        return Likelihood(self._spell(token), drawn.logprob, tuple((self._spell(other), value) for other, value in drawn.top))

    def _spell(self, token: int) -> bytes:
        # Embedding tables are padded: a model may emit an id that the tokenizer lacks.
        return self._spelled[token] if token < len(self._spelled) else b""

    def _recover(self, error: BaseException) -> list[Event]:
        """Take up work after a slice raised: the one answer in it fails; of several, each is tried by itself."""
        answers = list(self._running.values())
        self._restart()
        if len(answers) == 1:
            self._waiting.remove(answers[0])
            return [Failed(answers[0].work.id, engine_failed(error))]
        for answer in answers:
            answer.alone = True
        return []

    def _restart(self) -> None:
        """Begin a new batch, since the old one's state is unknown. What ran goes to the head of the line."""
        self._waiting.extendleft(reversed(self._running.values()))
        self._running.clear()
        self._batch.close()
        self._batch = self._new_batch()

    def _new_batch(self) -> TextBatch:
        return TextBatch(self._model, slots=self.slots, eos_token_ids=self._eos_token_ids, cache_bytes=self._cache_bytes, pace=self._pace)


def _finished(answer: Answer) -> Finished:
    work = answer.work
    return Finished(work.id, answer.finish or "stop", len(work.prompt), len(answer.ids), answer.cached_tokens)
