"""The engine that speaks: requests take turns, one slice each, sentence after sentence.

A slice is a few codec tokens of one request, and its sound goes out with it. Each
token is drawn by the seed, the sentence and its place in the sentence alone, so
neither company nor an earlier crash changes a sound. A sentence that does not end
within its budget is faded out and named; one of which nothing can be heard is tried
again with other draws, and fails the request when that does not help.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn

from app.engines.checkpoint import Checkpoint
from app.engines.device import release_memory, trim_cache
from app.engines.edges import Edges, pcm_of
from app.engines.faults import LIBRARY_ERRORS, NOT_FINITE, engine_failed
from app.engines.loading import evaluate_in_slices, load_failed
from app.engines.pace import Pace
from app.engines.protocols import Event, Failed, Work
from app.engines.rotation import Rotation
from app.engines.speaking import Sound, SpeechWork, Spoken
from app.engines.speech_books import SpeechBooks
from app.engines.speech_library import Utterance, finish_loading, load_lazily, reference_rate, resampled, sample_rate
from app.engines.tokenizing import Tokenizing
from app.errors import EngineFailed, ModelLoadFailed

__all__ = ["SpeechEngine", "load_speech_engine"]

_KEEP_FREED_BYTES = 64 * 1024**2
_MOST_TOKENS = 8  # of a slice: two thirds of a second of sound
_DRAWS = 3  # of a sentence that comes out silent


def load_speech_engine(checkpoint: Checkpoint, tokenizing: Tokenizing, *, slots: int, books: SpeechBooks) -> Iterator[SpeechEngine | None]:
    """Load the model and its codec in slices; the last thing yielded is their engine.

    Raises:
        ModelLoadFailed: The weights do not fit the configuration, or cannot be read.
    """
    model: nn.Module | None = None
    try:
        model = load_lazily(checkpoint.directory, checkpoint.generation, tokenizing.encode)
        yield None
        for _ in evaluate_in_slices(model):
            yield None
        finish_loading(model)
    except ModelLoadFailed:
        model = None
        raise
    except LIBRARY_ERRORS as error:
        model = None
        raise load_failed(checkpoint.directory.name, error) from None
    yield SpeechEngine(model, slots=slots, books=books)


class _Speech:
    """A request that is being said."""

    def __init__(self, work: SpeechWork, model: nn.Module) -> None:
        self.work = work
        self._model = model
        self._rate = sample_rate(model)
        self._sentence = work.first
        self._heard: dict[Any, Any] = {}  # what the model knows of the reference
        self._options: Mapping[str, Any] | None = None
        self._samples = 0
        self._tokens = 0
        self._cut: list[int] = []
        self._draw = 0
        self._utterance: Utterance | None = None  # of the sentence, once it began
        self._edges = Edges(self._rate)

    def advance(self, most_tokens: int) -> tuple[list[Event], int]:
        """Say up to *most_tokens* more; return what came of it, and how many there were."""
        if self._sentence >= len(self.work.sentences):
            return [Spoken(self.work.id, self._samples, self._rate, self._tokens, tuple(self._cut))], 0
        if self._utterance is None:
            self._utterance = self._utter()
            most_tokens = 1  # the first brings the reading of the prompt with it
        out = [np.zeros(0, np.float32)]
        for done in range(most_tokens):
            piece = self._utterance.next(self._seed(self._utterance.tokens))
            if piece is None:
                return [*self._sound(np.concatenate(out)), *self._end_sentence(self._utterance, cut=False)], done
            if not np.isfinite(piece).all():
                return [Failed(self.work.id, EngineFailed(NOT_FINITE))], done
            out.append(self._edges.add(piece))
            if self._utterance.tokens >= self.work.budgets[self._sentence]:
                return [*self._sound(np.concatenate(out)), *self._end_sentence(self._utterance, cut=True)], done + 1
        return self._sound(np.concatenate(out)), most_tokens

    def close(self) -> None:
        """Let go of what it keeps."""
        if self._utterance is not None:
            self._utterance.close()
            self._utterance = None
        self._heard.clear()
        self._options = None

    def _end_sentence(self, utterance: Utterance, *, cut: bool) -> list[Event]:
        """Send the rest of a sentence and go on to the next; begin a silent one again."""
        heard, rest = self._edges.heard, self._edges.end()
        self._tokens += utterance.tokens
        utterance.close()
        self._utterance, self._edges = None, Edges(self._rate)
        if not heard:
            self._draw += 1
            if self._draw < _DRAWS:
                return []
            msg = f"The model made only silence of sentence {self._sentence + 1}, {_DRAWS} times. Word it otherwise, or try another seed."
            return [Failed(self.work.id, EngineFailed(msg))]
        if cut:
            self._cut.append(self._sentence)
        events = self._sound(rest, last=True)
        self._sentence, self._draw = self._sentence + 1, 0
        if self._sentence >= len(self.work.sentences):
            events.append(Spoken(self.work.id, self._samples, self._rate, self._tokens, tuple(self._cut)))
        return events

    def _sound(self, samples: np.ndarray[Any, np.dtype[np.float32]], *, last: bool = False) -> list[Event]:
        self._samples += len(samples)
        return [Sound(self.work.id, self._sentence, pcm_of(samples), self._rate, last)] if len(samples) else []

    def _seed(self, place: int) -> int:
        """Return what the token at *place* of the sentence is drawn by."""
        words = f"{self.work.seed} {self._sentence} {self._draw} {place}"
        return int.from_bytes(blake2b(words.encode(), digest_size=8).digest(), "little")

    def _utter(self) -> Utterance:
        if self._options is None:
            self._options = self._all_options()
        text, budget = self.work.sentences[self._sentence], self.work.budgets[self._sentence]
        return Utterance(self._model, text, budget, self._options, self._heard)

    def _all_options(self) -> Mapping[str, Any]:
        work = self.work
        options: dict[str, Any] = {"voice": work.voice, "instruct": work.instructions, "lang_code": work.language}
        options |= {"temperature": work.temperature, "top_k": work.top_k, "top_p": work.top_p}
        options["repetition_penalty"] = work.repetition_penalty
        if work.reference is not None:
            samples = np.fromfile(work.reference, "<i2").astype(np.float32) * np.float32(1 / 32768)
            options["ref_audio"] = mx.array(resampled(samples, work.reference_rate, reference_rate(self._model)))
            options["ref_text"] = work.reference_text
        return options


class SpeechEngine:
    """An :class:`~app.engines.protocols.Engine` for :class:`~app.engines.speaking.SpeechWork`."""

    def __init__(self, model: nn.Module, *, slots: int, books: SpeechBooks | None = None) -> None:
        self.slots = slots
        self._model = model
        self._books = books or SpeechBooks()
        self._pace = Pace(start=1, least=1, most=_MOST_TOKENS)
        self._waiting: deque[SpeechWork] = deque()
        self._turns: Rotation[_Speech] = Rotation(lambda speech: speech.work.patient)
        self._refused: list[Failed] = []  # to be told with the next step

    def add(self, work: Work) -> None:
        """Take *work*.

        Raises:
            TypeError: It is not text to say.
        """
        if not isinstance(work, SpeechWork):
            msg = f"a speech engine does not take {type(work).__name__}"
            raise TypeError(msg)
        refusal = self._books.refusal(work)
        if refusal is None:
            self._waiting.append(work)
        else:
            self._refused.append(Failed(work.id, refusal))

    def cancel(self, work_id: str) -> None:
        """Forget *work_id* and what it keeps."""
        self._refused = [failed for failed in self._refused if failed.id != work_id]
        self._waiting = deque(work for work in self._waiting if work.id != work_id)
        self._books.forget(work_id)
        for speech in [speech for speech in self._turns if speech.work.id == work_id]:
            self._leave(speech)

    @property
    def has_work(self) -> bool:
        """Whether ``step`` would do anything."""
        return bool(self._waiting or self._turns or self._refused)

    @property
    def wanted_bytes(self) -> int:
        """How much higher the ledger's limit must be before the request that waits for room fits at all."""
        return self._books.wanted_bytes

    def stepping(self) -> Sequence[str]:
        """Return whose turn it is. Nobody shares a slice, so work that must be alone is."""
        self._admit()
        return [speech.work.id] if (speech := self._turns.first) else []

    def step(self) -> Sequence[Event]:
        """Say a few tokens more of one request."""
        self._admit()
        events: list[Event] = [*self._refused]
        self._refused.clear()
        if (speech := self._turns.first) is None:
            return events
        self._turns.pass_on()
        began = time.perf_counter()
        try:
            came, tokens = speech.advance(self._pace.size)
        except LIBRARY_ERRORS as error:
            came, tokens = [Failed(speech.work.id, engine_failed(error))], 0
        self._pace.record(tokens, time.perf_counter() - began)
        trim_cache(_KEEP_FREED_BYTES)
        if any(isinstance(event, Spoken | Failed) for event in came):
            self._leave(speech)
        return [*events, *came]

    def close(self) -> None:
        """Drop weights and requests."""
        self._waiting.clear()
        for speech in list(self._turns):
            self._leave(speech)
        self._books.close()
        del self._model
        release_memory()

    def _admit(self) -> None:
        """Let in who is next, while there are slots and room."""
        while self._waiting and len(self._turns) < self.slots:
            if not self._books.admit([speech.work for speech in self._turns], self._waiting[0]):
                return
            self._turns.join(_Speech(self._waiting.popleft(), self._model))

    def _leave(self, speech: _Speech) -> None:
        self._turns.leave(speech)
        speech.close()
        self._books.settle([other.work for other in self._turns])
