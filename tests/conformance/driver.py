"""Runs an engine as the GPU thread does, and checks at every step what holds for any engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.engines.hearing import Heard, Spans
from app.engines.protocols import Conclusion, Embedded, Engine, Event, Failed, Finished, Prefilled, Sound, Spoken, TextWork, Tokens, Work
from app.engines.ranking import Ranked
from app.errors import InferenceError

__all__ = ["Outcome", "Run", "run", "same"]

_ENOUGH_STEPS = 5000


@dataclass
class Outcome:
    """All that an engine said of one piece of work."""

    events: list[Event] = field(default_factory=list)

    @property
    def end(self) -> Conclusion | None:
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Conclusion) else None

    @property
    def ids(self) -> list[int]:
        return [token for event in self.events if isinstance(event, Tokens) for token in event.ids]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Tokens))

    @property
    def error(self) -> InferenceError | None:
        return self.end.error if isinstance(self.end, Failed) else None

    @property
    def rows(self) -> Any:  # noqa: ANN401 - as the Protocol has it
        assert isinstance(self.end, Embedded)
        return self.end.rows

    @property
    def scores(self) -> Any:  # noqa: ANN401 - as the Protocol has it
        assert isinstance(self.end, Ranked)
        return self.end.scores

    @property
    def heard(self) -> Heard:
        assert isinstance(self.end, Heard)
        return self.end

    @property
    def finished(self) -> Finished:
        assert isinstance(self.end, Finished)
        return self.end

    @property
    def spoken(self) -> Spoken:
        assert isinstance(self.end, Spoken)
        return self.end

    def pcm(self, sentence: int | None = None) -> bytes:
        """Return what was heard: of one sentence, or of all."""
        return b"".join(event.pcm for event in self.events if isinstance(event, Sound) and sentence in {None, event.sentence})


class Run:
    """Steps an engine and sorts its events by work."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.outcomes: dict[str, Outcome] = {}
        self.steps: list[Sequence[str]] = []  # who was named before each step
        self._read_first: set[str] = set()  # whose prompt is read before anything is said

    def add(self, *works: Work) -> None:
        for work in works:
            self.outcomes[work.id] = Outcome()
            if isinstance(work, TextWork):
                self._read_first.add(work.id)
            self.engine.add(work)

    def cancel(self, work_id: str) -> Outcome:
        self.engine.cancel(work_id)
        return self.outcomes.pop(work_id)

    def step(self) -> None:
        named = list(self.engine.stepping())
        assert len(named) == len(set(named))
        self.steps.append(named)
        for event in self.engine.step():
            assert event.id in named, f"{event} of work that was not named before the step"
            outcome = self.outcomes[event.id]
            assert outcome.end is None, f"{event} after the end"
            if isinstance(event, Tokens) and event.id in self._read_first:
                assert any(isinstance(before, Prefilled) for before in outcome.events)
            outcome.events.append(event)

    def finish(self, each: Callable[[], None] | None = None) -> dict[str, Outcome]:
        """Step until there is no more work, and return what became of each."""
        while self.engine.has_work:
            self.step()
            if each is not None:
                each()
            assert len(self.steps) < _ENOUGH_STEPS, "the engine does not end"
        assert not self.engine.stepping()
        assert not self.engine.step()
        assert all(outcome.end is not None for outcome in self.outcomes.values())
        return self.outcomes


def run(engine: Engine, *works: Work) -> dict[str, Outcome]:
    """Run *works* that are all there from the start."""
    one = Run(engine)
    one.add(*works)
    return one.finish()


def same(one: Outcome, other: Outcome) -> bool:
    """Return whether two runs of one piece of work came to the same answer."""
    if isinstance(one.end, Embedded) and isinstance(other.end, Embedded):
        return one.end.prompt_tokens == other.end.prompt_tokens and bool(np.allclose(one.rows, other.rows, atol=1e-5))
    if isinstance(one.end, Ranked) and isinstance(other.end, Ranked):
        return one.end.prompt_tokens == other.end.prompt_tokens and bool(np.allclose(one.scores, other.scores, atol=1e-5))
    if isinstance(one.end, Heard | Spans):
        return (one.end, one.text) == (other.end, other.text)
    if isinstance(one.end, Spoken):
        return one.end == other.end and one.pcm() == other.pcm()
    if not (isinstance(one.end, Finished) and isinstance(other.end, Finished)):
        return False
    counts = [(outcome.finished.reason, outcome.finished.prompt_tokens, outcome.finished.completion_tokens) for outcome in (one, other)]
    return (one.ids, one.text, counts[0]) == (other.ids, other.text, counts[1])
