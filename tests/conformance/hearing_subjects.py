"""The engine that hears, over tiny models and recordings of noise: what they say means nothing, and is always the same."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np

from app.engines.hearing import SpansWork, TranscriptionWork
from app.engines.hearing_engine import HearingEngine
from app.engines.hearing_frontend import HearingFrontend
from app.engines.ledger import KvAccount
from app.engines.protocols import Frontend
from app.engines.registry import open_frontend
from app.models.footprint import Footprint, read_footprint
from app.models.spec import ModelSpec, Task
from tests.spoken import RATE, noise, write_pcm

__all__ = ["HEARING", "Ear", "frontend_over", "result_of"]

T = TypeVar("T")

HEARING = ("qwen3_asr-f32", "whisper-f32")


def frontend_over(directory: Path, vad: Path | None = None, **spec: Any) -> HearingFrontend:  # noqa: ANN401 - fields of ModelSpec
    """Return the frontend of the model in *directory*."""
    fields = {"id": "ear", "repo": "tiny", "tasks": ["asr"], **spec}
    frontend: Frontend = open_frontend(ModelSpec.model_validate(fields), directory, vad)
    assert isinstance(frontend, HearingFrontend)
    return frontend


def result_of(rest: Generator[None, None, T]) -> T:
    """Run *rest* to its end and return what it returns."""
    while True:
        try:
            next(rest)
        except StopIteration as ending:
            result: T = ending.value
            return result


class Ear:
    """One engine over one tiny model, and recordings in *folder*."""

    def __init__(self, directory: Path, folder: Path) -> None:
        self.directory = directory
        self.folder = folder
        self._opened: list[HearingEngine] = []

    @property
    def footprint(self) -> Footprint:
        cpu = mx.default_device().type == mx.DeviceType.cpu
        return read_footprint(self.directory, [Task.ASR], frontend_over(self.directory).context, cpu=cpu)

    def open(self, *, account: KvAccount | None = None, **spec: Any) -> HearingEngine:  # noqa: ANN401 - fields of ModelSpec
        *_, engine = frontend_over(self.directory, **spec).open(account)
        assert isinstance(engine, HearingEngine)
        self._opened.append(engine)
        return engine

    def close(self, engine: HearingEngine) -> None:
        self._opened.remove(engine)
        engine.close()

    def close_all(self) -> None:
        while self._opened:
            self._opened.pop().close()

    def work(self, number: int, seconds: float = 1.5, **fields: Any) -> TranscriptionWork:  # noqa: ANN401 - of TranscriptionWork
        """Return the work *number*: always the same, and unlike that of any other number."""
        file = self.folder / f"{number}-{seconds}.pcm"
        if not file.exists():
            tone = np.sin(np.arange(round(seconds * RATE)) * (0.02 + 0.01 * number)) * 8000
            write_pcm(file, (tone + noise(seconds, 0.05, seed=number)).astype(np.int16))
        given = {"language": "en", "seed": number, "temperature": 0.0 if number % 2 == 0 else 1.0, "max_tokens": 12, **fields}
        return replace(TranscriptionWork(f"work-{number}", file, 0.0, seconds), **given)

    def spans(self, number: int, seconds: float = 1.5) -> SpansWork:
        return SpansWork(f"spans-{number}", self.work(number, seconds).audio)
