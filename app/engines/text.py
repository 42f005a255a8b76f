"""The engine that generates text: continuous batching over one language model.

Requests enter in the order of their line, one prompt being read at a time or several
short ones together, while every other answer goes on; each when all that its prompt
and its tokens may take is reserved, beside those who enter with it. A prompt that nobody
waits for rests, half read, while somebody's is read. What a request gets does not depend
on its company. A failure ends the request that caused it: when several shared the slice,
each is tried again by itself, from the tokens that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlx import nn

from app.engines.answer import Answer
from app.engines.detokenize import Detokenizer
from app.engines.device import on_cpu, prefix_cache_bytes, release_memory
from app.engines.faults import LIBRARY_ERRORS, NOT_FINITE, engine_failed
from app.engines.holding import Held
from app.engines.kv_admission import KvAdmission
from app.engines.line import Line
from app.engines.pace import Pace
from app.engines.protocols import Event, Failed, Prefilled, TextWork, Tokens, Work
from app.engines.sampling import NOT_A_TOKEN
from app.engines.vlm_library import TextBatch, Tick
from app.engines.vlm_library_pictures import sight_of
from app.errors import EngineFailed
from app.models.footprint import PIECE_TOKENS, PIECE_TOKENS_CPU

__all__ = ["TextEngine"]


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
        kv: KvAdmission | None = None,
    ) -> None:
        """Take over *model*.

        Args:
            model: A loaded mlx-vlm model.
            slots: Answers that grow at once.
            eos_token_ids: Tokens that end an answer.
            detokenizer: Makes the detokenizer of an answer.
            spelled: The bytes of every token, for work that asks how likely its tokens were.
            cache_bytes: Size of the prefix cache, 0 for none; unset: by the device's memory.
            kv: Says who may enter; unset: everybody.
        """
        self.slots = slots
        self._model = model
        self._eos_token_ids = eos_token_ids
        self._detokenizer = detokenizer
        self._spelled = spelled
        self._cache_bytes = prefix_cache_bytes() if cache_bytes is None else cache_bytes
        self._kv = kv or KvAdmission(None, None)
        self._pace = Pace(start=256, least=64, most=PIECE_TOKENS_CPU if on_cpu() else PIECE_TOKENS)
        self._line = Line(slots, self._kv)
        self._entering: list[Answer] = []  # room is reserved for them; they enter with the next step
        self._running: dict[int, Answer] = {}  # row of the batch -> answer, in order of admission
        self._refused: list[Failed] = []  # to be told with the next step
        self._sight = sight_of(model)
        self._batch = self._new_batch()
        self._let_cache_grow()

    def add(self, work: Work) -> None:
        """Take *work*.

        Raises:
            TypeError: It is not text to generate.
        """
        if not isinstance(work, TextWork):
            msg = f"a text engine does not take {type(work).__name__}"
            raise TypeError(msg)
        answer = Answer(work, self._detokenizer, self._eos_token_ids)
        refusal = self._kv.refusal(answer) if answer.finish is None else None
        if refusal is None:
            self._line.join(answer)
        else:
            self._refused.append(Failed(work.id, refusal))

    def cancel(self, work_id: str) -> None:
        """Forget *work_id* and free its slot and its keys and values."""
        self._refused = [failed for failed in self._refused if failed.id != work_id]
        self._line.leave(work_id)
        self._entering = [answer for answer in self._entering if answer.work.id != work_id]
        for row in [row for row, answer in self._running.items() if answer.work.id == work_id]:
            del self._running[row]
            try:
                self._batch.remove(row)
            except LIBRARY_ERRORS:  # removing evaluates what was queued for the rows beside it
                self._restart()
        self._settle()

    @property
    def has_work(self) -> bool:
        """Whether ``step`` would do anything."""
        return bool(self._line or self._entering or self._running or self._refused)

    @property
    def wanted_bytes(self) -> int:
        """How much higher the ledger's limit must be before the answer that waits for room fits at all."""
        return self._kv.wanted_bytes

    def stepping(self) -> Sequence[str]:
        """Choose who enters with the next step, and return all that it touches: those who run, and those who enter."""
        self._choose()
        return [answer.work.id for answer in (*self._split(self._batch.aside)[1], *self._joining())]

    def step(self) -> Sequence[Event]:
        """Let in who was chosen, decode one token of every answer, and read one piece of the prompts on their way in."""
        if not self._entering:
            self._choose()
        events: list[Event] = [*self._refused, *(answer.finished for answer in self._line.take_finished())]
        self._refused.clear()
        # A picture is a slice: who enters sees one with each step, and others' answers go on beside that.
        looked = self._look()
        events.extend(self._enter() if looked is None else looked)
        if self._running:
            events.extend(self._advance())
        return events

    def _advance(self) -> list[Event]:
        events: list[Event] = []
        running = len(self._running)
        try:
            tick = self._batch.step()
        except LIBRARY_ERRORS as error:
            return self._recover(error)
        for row, cached in tick.prefilled:
            answer = self._running[row]
            answer.cached_tokens = min(cached, len(answer.work.prompt))
            if not answer.prefilled:
                answer.prefilled = True
                events.append(Prefilled(answer.work.id, answer.cached_tokens))
        for row, token in tick.tokens:
            events.extend(self._grow(row, token, tick))
        if tick.prefilled or len(self._running) < running:
            self._settle()
        return events

    def close(self) -> None:
        """Drop weights, answers and prefix cache."""
        self._line.clear()
        self._entering.clear()
        self._running.clear()
        self._kv.close()
        self._batch.close()
        if self._sight is not None:
            self._sight.close()
        del self._batch, self._model, self._sight
        release_memory()

    def _choose(self) -> None:
        """Choose who enters with the next step, besides those who were chosen, and reserve room for them."""
        if not self._entering and all(answer.ids for answer in self._split(self._batch.reading)[1]):
            self._batch.take_up()  # not before those for whom it rested have seen a token
        reading = self._batch.prefilling
        if reading and not self._set_aside():
            return
        chosen = len(self._entering)
        aside, running = self._split(self._batch.aside)
        while (answer := self._line.enter(running, [*aside, *self._entering], self._joins)) is not None:
            self._entering.append(answer)
        if len(self._entering) > chosen:
            self._let_cache_grow()
            for one in aside:
                one.rests += 1
        elif reading:
            self._batch.take_up()  # there was no room after all

    def _set_aside(self) -> bool:
        """Let prompts rest for which nobody waits, so that somebody's is read first. Return whether there is somebody."""
        reading, running = self._split(self._batch.reading)
        if self._entering or self._batch.aside or not self._line.passes(running, reading):
            return False
        self._batch.set_aside()
        return True

    def _split(self, rows: Sequence[int]) -> tuple[list[Answer], list[Answer]]:
        """Return the answers of *rows*, and the others that are in."""
        return [one for row, one in self._running.items() if row in rows], [one for row, one in self._running.items() if row not in rows]

    def _joins(self, answer: Answer) -> bool:
        """Return whether *answer*'s prompt is read together with all that were chosen: patient ones would delay who is waited for."""
        together = all(one.work.patient == answer.work.patient for one in self._entering)
        aside = self._split(self._batch.aside)[0]
        passes = all(one.may_rest for one in aside) and not (aside and answer.work.patient)
        return together and passes and self._read_together([*self._entering, answer])

    def _joining(self) -> Sequence[Answer]:
        """Return who of the chosen enters: all, unless room for the last took from the prefix cache what was held of the first."""
        ends = range(len(self._entering), 0, -1)
        return next((self._entering[:end] for end in ends if self._read_together(self._entering[:end])), [])

    def _read_together(self, answers: Sequence[Answer]) -> bool:
        piece = self._kv.piece_tokens(answers)
        if any(answer.work.patient for answer in answers):  # who comes meanwhile waits for this slice: it is an ordinary one
            piece = self._pace.size if piece is None else min(piece, self._pace.size)
        return self._batch.takes([answer.tokens for answer in answers], piece)

    def _enter(self) -> list[Event]:
        """Let in who was chosen."""
        joining = self._joining()
        self._entering = self._entering[len(joining) :]
        piece = self._kv.piece_tokens(joining)
        failed: list[Event] = []
        for answer in joining:
            try:
                work = answer.work
                held = Held(work.grammar, work.thinking)
                row = self._batch.insert(
                    answer.tokens, len(answer.ids), answer.missing, work.sampling, work.logprobs, piece, work.pictures, held
                )
            except LIBRARY_ERRORS as error:
                failed.append(Failed(answer.work.id, engine_failed(error)))
            else:
                self._running[row] = answer
        if self._sight is not None and joining:
            self._sight.forget([picture for answer in self._entering for picture in answer.work.pictures])
        if failed:
            self._settle()
        return failed

    def _look(self) -> list[Event] | None:
        """Encode the next picture of those who enter; None: there is none to encode. Whoever cannot be shown one fails."""
        for answer in self._entering:
            for picture in answer.work.pictures:
                if self._sight is None or self._sight.knows(picture):
                    continue
                try:
                    self._sight.encode(picture)
                except LIBRARY_ERRORS as error:
                    self._entering.remove(answer)
                    self._settle()
                    return [Failed(answer.work.id, engine_failed(error))]
                return []
        return None

    def _settle(self) -> None:
        """Give back what those who left do not need any more."""
        reading, running = self._split(self._batch.reading)
        self._kv.settle(running, [*reading, *self._entering])
        self._let_cache_grow()

    def _let_cache_grow(self) -> None:
        if self._cache_bytes:
            self._batch.limit_prefix_cache(self._kv.lend(self._cache_bytes, self._batch.limit_prefix_cache))

    def _grow(self, row: int, token: int, tick: Tick) -> list[Event]:
        """Add *token* to the answer of *row* and return what came of it."""
        answer = self._running[row]
        if token == NOT_A_TOKEN:
            del self._running[row]
            return [Failed(answer.work.id, EngineFailed(tick.gave_out.get(row, NOT_FINITE)))]
        drawn = tick.drawn.get(row)
        seen = () if drawn is None or token in self._eos_token_ids else (drawn.spelled(token, self._spelled),)
        shown = answer.take(token)
        events: list[Event] = [Tokens(answer.work.id, (token,), shown.text, seen, shown.reasoning, shown.calls, shown.runs)]
        if answer.finish is not None:
            del self._running[row]
            self._batch.remove(row, keep=True)  # a stop string is known here alone; at any other end the row has left
            events.append(answer.finished)
        return events

    def _recover(self, error: BaseException) -> list[Event]:
        """Take up work after a slice raised: the one answer in it fails; of several, each is tried by itself."""
        answers = self._split(self._batch.aside)[1]
        self._restart()
        if len(answers) == 1:
            self._line.leave(answers[0].work.id)
            return [Failed(answers[0].work.id, engine_failed(error))]
        for answer in answers:
            answer.alone = True
        return []

    def _restart(self) -> None:
        """Begin a new batch, since the old one's state is unknown. What ran goes to the head of the line."""
        self._line.rejoin([*self._running.values(), *self._entering])
        self._running.clear()
        self._entering.clear()
        self._batch.close()
        self._batch = self._new_batch()
        self._settle()

    def _new_batch(self) -> TextBatch:
        ends, cache_bytes = self._eos_token_ids, self._cache_bytes
        return TextBatch(self._model, slots=self.slots, eos_token_ids=ends, cache_bytes=cache_bytes, pace=self._pace, sight=self._sight)
