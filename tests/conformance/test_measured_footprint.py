"""What a model is said to need is what mlx takes for it, no more and not much less."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from tests.conformance.driver import Run
from tests.conformance.subjects import Subject

MODELS = ("qwen3-f32", "qwen3_5-f32", "gemma3-f32")
OFTEN_LESS = 3  # times the estimate may be above what is taken: room for one more step, and for one layer twice


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> Iterator[Subject]:
    subject = Subject(request.param, tiny_model(request.param))
    yield subject
    subject.close_all()


@pytest.mark.parametrize("name", ["qwen3", "qwen3-4bit", "qwen3_5-4bit", "qwen3_5_moe-4bit", "qwen3_embedding", "bert"])
def test_weights_take_what_their_files_say_once_they_are_cast(tiny_model: Callable[[str], Path], name: str) -> None:
    embeds = name in {"bert", "qwen3_embedding"}
    subject = Subject(name, tiny_model(name))
    subject.kind = "embedding" if embeds else "chat"
    before = active_bytes()
    *_, engine = subject.frontend().open()
    assert engine is not None
    taken = active_bytes() - before
    expected = subject.footprint.weights_bytes
    assert 0.8 * expected <= taken <= 1.02 * expected
    engine.close()


@pytest.mark.parametrize(("rows", "prompt", "size"), [(1, 1500, 300), (4, 600, 200), (16, 200, 80), (16, 20, 40)])
def test_a_batch_takes_at_most_what_is_reserved_for_it_and_at_least_a_third(model: Subject, rows: int, prompt: int, size: int) -> None:
    needs = model.footprint
    engine = model.open()
    one = Run(engine)
    one.add(model.work(99, size=1))  # the weights of a test's engine are read when they are first used
    one.finish()
    words = tuple(token for number in range(200) for token in model.tokens(number))
    one.add(*(model.work(row, prompt=words[row * 7 : row * 7 + prompt], size=size) for row in range(rows)))
    before = active_bytes()
    mx.reset_peak_memory()
    taken = 0

    def look() -> None:
        nonlocal taken
        mx.synchronize()
        taken = max(taken, int(mx.get_active_memory()) - before)

    one.finish(look)
    reserved = needs.batch_bytes(prompt + size, rows, prompt)
    assert reserved / OFTEN_LESS <= taken <= reserved
    assert int(mx.get_peak_memory()) - before <= reserved + needs.activation_bytes


def active_bytes() -> int:
    gc.collect()
    mx.synchronize()
    mx.clear_cache()
    return int(mx.get_active_memory())
