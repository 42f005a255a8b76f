"""Models that see, over tiny weights: the library's own answers, in company as alone, each picture encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from app.engines.protocols import Engine, TextWork
from app.engines.registry import open_frontend
from app.engines.text import TextEngine
from app.errors import InvalidRequest
from app.models.spec import ModelSpec
from tests.conformance.driver import run

BATCHED = ("qwen3_vl-f32", "qwen3_5-f32", "qwen3_5_moe-f32")
SEEING = (*BATCHED, "paddleocr_vl-f32")
_TOKENS = 12


class Looker:
    """One tiny model, pictures in *folder*, and requests about them."""

    def __init__(self, directory: Path, folder: Path) -> None:
        self.directory = directory
        self.folder = folder
        self.frontend = open_frontend(ModelSpec(id="eyes", repo=str(directory), tasks=["chat", "vision"]), directory)
        self._opened: list[Engine] = []

    def open(self) -> TextEngine:
        *_, engine = self.frontend.open()
        assert isinstance(engine, TextEngine)
        self._opened.append(engine)
        return engine

    def close(self) -> None:
        for engine in self._opened:
            engine.close()

    def picture(self, number: int, size: tuple[int, int] = (90, 64)) -> Path:
        file = self.folder / f"{number}-{size[0]}x{size[1]}.png"
        if not file.exists():
            across, down = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
            pixels = np.stack([(across * (number + 1) * 5) % 256, (down * (number + 2) * 3) % 256, (across + down * number) % 256], -1)
            Image.fromarray(pixels.astype(np.uint8)).save(file)
        return file

    def work(self, name: str, *parts: str | Path, published: Sequence[int] = (), **more: Any) -> TextWork:  # noqa: ANN401
        """Return a question whose content is texts and pictures in this order."""
        content = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "blob": part.name, "path": part}
            for part in parts
        ]
        request = {"messages": [{"role": "user", "content": content}], "temperature": 0.0, "max_tokens": _TOKENS, **more}
        work = self.frontend.prepare(name, "chat", request, seed=1, published=published)
        assert isinstance(work, TextWork)
        return work

    def alone(self, *parts: str | Path, count: int = _TOKENS) -> list[int]:
        return run(self.open(), self.work("alone", *parts, max_tokens=count))["alone"].ids


@pytest.fixture
def looker(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path], tmp_path: Path) -> Iterator[Looker]:
    looker = Looker(tiny_model(request.param), tmp_path)
    yield looker
    looker.close()


def by_the_library(looker: Looker, text: str, *pictures: Path, count: int = _TOKENS) -> list[int]:
    """Return what mlx-vlm's own generator says, one request by itself."""
    from mlx_vlm.generate import stream_generate
    from mlx_vlm.utils import load

    model, processor = load(str(looker.directory))
    stream: Any = stream_generate
    content: list[dict[str, str]] = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": text}]
    tokenizer: Any = processor.tokenizer
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    images = [Image.open(picture).convert("RGB") for picture in pictures]
    said = [int(one.token) for one in stream(model, processor, prompt, image=images, max_tokens=count, temperature=0.0)]
    return said[:count]


@pytest.mark.parametrize("looker", SEEING, indirect=True)
def test_a_picture_is_seen_as_the_library_sees_it(looker: Looker) -> None:
    picture = looker.picture(1)
    ours = looker.alone(picture, "What is this?")
    assert len(ours) > 3
    assert by_the_library(looker, "What is this?", picture)[: len(ours)] == ours


@pytest.mark.parametrize("looker", SEEING, indirect=True)
def test_another_picture_or_another_order_is_another_answer(looker: Looker) -> None:
    one, other = looker.picture(1), looker.picture(2)
    assert looker.alone(one, "What is this?") != looker.alone(other, "What is this?")
    assert looker.alone(one, "And", other, "Which?", count=60) != looker.alone(other, "And", one, "Which?", count=60)
    assert looker.alone(one, "What is this?") != looker.alone("What is this?")


@pytest.mark.parametrize("looker", BATCHED, indirect=True)
def test_company_changes_nothing(looker: Looker) -> None:
    questions: list[tuple[str | Path, ...]] = [
        (looker.picture(1), "What is this?"),
        ("A river runs to the sea.",),
        (looker.picture(2, (200, 70)), looker.picture(3, (64, 64)), "Compare them."),
        ("Say something.", looker.picture(1), "Again."),
        ("Count to three.",),
    ]
    alone = [looker.alone(*parts) for parts in questions]
    together = run(looker.open(), *(looker.work(str(n), *parts) for n, parts in enumerate(questions)))
    assert [together[str(n)].ids for n in range(len(questions))] == alone


@pytest.mark.parametrize("looker", SEEING, indirect=True)
def test_one_after_the_other_changes_nothing_either(looker: Looker) -> None:
    questions: list[tuple[str | Path, ...]] = [(looker.picture(1), "What?"), ("A text.",), (looker.picture(2, (200, 70)), "And this?")]
    alone = [looker.alone(*parts) for parts in questions]
    engine = looker.open()
    for _ in range(2):  # the second time from the prefix cache, where there is one
        assert [run(engine, looker.work("one", *parts))["one"].ids for parts in questions] == alone


@pytest.mark.parametrize("looker", SEEING, indirect=True)
def test_a_picture_is_encoded_once_and_cut_prompts_are_read_as_whole_ones(looker: Looker) -> None:
    picture, text = looker.picture(1, (250, 250)), "What is this? " * 40
    alone = looker.alone(picture, text)
    engine = looker.open()
    engine._pace._most = engine._pace._least = engine._pace.size = 64  # noqa: SLF001 - as a slow machine would have it: many pieces
    assert run(engine, looker.work("one", picture, text))["one"].ids == alone
    assert run(engine, looker.work("two", picture, text))["two"].ids == alone
    assert engine._sight is not None  # noqa: SLF001
    assert engine._sight.encoded == 1  # noqa: SLF001
    run(engine, looker.work("three", looker.picture(2), text, picture))
    assert engine._sight.encoded == 2  # noqa: SLF001


@pytest.mark.parametrize("looker", SEEING, indirect=True)
def test_an_answer_that_a_crash_broke_off_goes_on(looker: Looker) -> None:
    parts = (looker.picture(1), "What is this?")
    whole = looker.alone(*parts)
    rest = run(looker.open(), looker.work("rest", *parts, published=whole[:3]))["rest"].ids
    assert [*whole[:3], *rest] == whole


@pytest.mark.parametrize("looker", ["qwen3_vl-f32"], indirect=True)
def test_a_picture_that_breaks_the_tower_fails_its_own_request(looker: Looker) -> None:
    engine = looker.open()
    assert engine._sight is not None  # noqa: SLF001
    healthy = engine._sight.encode  # noqa: SLF001
    broken = looker.work("broken", looker.picture(2), "What?")

    def encode(picture: Any) -> None:  # noqa: ANN401
        if picture is broken.pictures[0]:
            message = "this tower breaks on that picture"
            raise RuntimeError(message)
        healthy(picture)

    engine._sight.encode = encode  # type: ignore[method-assign]  # noqa: SLF001
    alone = looker.alone(looker.picture(1), "What is this?")
    outcomes = run(engine, broken, looker.work("well", looker.picture(1), "What is this?"))
    assert outcomes["broken"].error is not None
    assert outcomes["well"].ids == alone


@pytest.mark.parametrize("looker", ["qwen3_5-f32"], indirect=True)
def test_memory_of_pictures_is_given_back(looker: Looker) -> None:
    before = mx.get_active_memory()
    engine = looker.open()
    assert engine._sight is not None  # noqa: SLF001
    engine._sight._kept_bytes = 20_000  # noqa: SLF001 - of pictures of 7,000 bytes each
    run(engine, *(looker.work(str(n), looker.picture(n), "What?") for n in range(6)))
    kept = engine._sight._features  # noqa: SLF001
    assert 0 < sum(size for _, size in kept.values()) <= 20_000
    assert next(reversed(kept)).startswith(looker.picture(5).name)
    looker.close()
    looker._opened.clear()  # noqa: SLF001
    assert mx.get_active_memory() <= before + 4096


@pytest.mark.parametrize("looker", ["qwen3_vl-f32"], indirect=True)
def test_what_is_no_picture_for_this_model_is_refused(looker: Looker) -> None:
    with pytest.raises(InvalidRequest, match="marks"):
        looker.work("marks", looker.picture(1), "<|image_pad|>")
    with pytest.raises(InvalidRequest, match="pixels"):
        looker.work("narrow", looker.picture(1, (9000, 3)), "What?")
    low, high = (looker.work("x", looker.picture(1, (900, 700)), "What?") for _ in range(2))
    assert low.pictures[0].key == high.pictures[0].key


def test_a_model_without_eyes_says_so(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    blind = Looker(tiny_model("qwen3-f32"), tmp_path)
    with pytest.raises(InvalidRequest, match="does not take pictures"):
        blind.work("x", blind.picture(1), "What?")
