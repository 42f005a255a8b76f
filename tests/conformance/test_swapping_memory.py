"""Memory after many swaps is what it was before them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from app.engines.protocols import Event, Failed, Finished
from app.engines.registry import open_frontend
from app.models.spec import ModelSpec, Task
from app.scheduler.books import MemoryBooks, Need
from app.scheduler.breadcrumb import Breadcrumb
from app.scheduler.gpu import GpuThread

REQUEST = {"messages": [{"role": "user", "content": "Tell me of the river."}], "max_tokens": 4, "temperature": 0}
BUDGET_BYTES = 1024**3
MARGIN_BYTES = 64 * 1024  # scalars and tables that MLX keeps for itself


class Listener:
    """Hears of the end of one work at a time."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.failed: list[Failed] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, Failed):
            self.failed.append(event)
        if isinstance(event, Failed | Finished):
            self.ended.set()


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def books() -> MemoryBooks:
    return MemoryBooks(BUDGET_BYTES)


@pytest.fixture
def gpu(tmp_path: Path, listener: Listener, books: MemoryBooks) -> Iterator[GpuThread]:
    thread = GpuThread(listener, lambda _: None, Breadcrumb(tmp_path / "crumb"), books)
    thread.start()
    yield thread
    thread.stop()


def swap(gpu: GpuThread, listener: Listener, folder: Path, number: int) -> None:
    """Load a model, have it answer, and unload it."""
    spec = ModelSpec(id=f"model-{number % 3}", repo=str(folder), tasks=(Task.CHAT,))
    frontend = open_frontend(spec, folder)
    gpu.load(spec.id, frontend, "", Need(load_bytes=1024**2)).result(60)
    listener.ended.clear()
    gpu.add(spec.id, frontend.prepare(f"work-{number}", "chat", REQUEST, seed=number))
    assert listener.ended.wait(60)
    assert gpu.unload(spec.id).result(60) > 0


@pytest.mark.parametrize("swaps", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_after_many_swaps_memory_is_where_it_was(
    swaps: int, gpu: GpuThread, listener: Listener, books: MemoryBooks, tiny_model: Callable[[str], Path]
) -> None:
    folder = tiny_model("qwen3-f32")
    swap(gpu, listener, folder, 0)
    before = mx.get_active_memory()
    for number in range(1, swaps):
        swap(gpu, listener, folder, number)
    assert not listener.failed
    assert mx.get_active_memory() <= before + MARGIN_BYTES
    assert books.ledger.limit_bytes == BUDGET_BYTES
    assert books.ledger.reserved_bytes == 0
    assert gpu.states() == {}


def test_a_load_waits_until_requests_hold_no_more_than_it_leaves(
    gpu: GpuThread, listener: Listener, books: MemoryBooks, tiny_model: Callable[[str], Path]
) -> None:
    folder = tiny_model("qwen3-f32")
    specs = [ModelSpec(id=name, repo=str(folder), tasks=(Task.CHAT,)) for name in ("first", "second")]
    first, second = (open_frontend(spec, folder) for spec in specs)
    gpu.load("first", first, "", Need(load_bytes=1024**2)).result(60)
    long = REQUEST | {"max_tokens": 200}
    gpu.add("first", first.prepare("work", "chat", long, seed=1))
    # It needs the whole budget, so it may not begin while the answer holds anything.
    loaded = gpu.load("second", second, "", Need(load_bytes=BUDGET_BYTES))
    answered_first = threading.Event()
    loaded.add_done_callback(lambda _: answered_first.set() if listener.ended.is_set() else None)
    loaded.result(60)
    assert answered_first.is_set()
    assert not listener.failed
