"""Models that look at videos, over tiny weights: the library's own answers, in company as alone, each pair of frames encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.engines.protocols import TextWork
from app.errors import InvalidRequest
from app.pictures.frames import open_frame, read_frames, write_frames
from app.pictures.video_decoder import FRAMES_PER_S, LEAST_FRAMES, MOST_FRAMES, chosen
from tests.conformance.driver import run
from tests.conformance.test_seeing import Looker
from tests.videos import shade

WATCHING = ("qwen3_vl-f32", "qwen3_5-f32", "qwen3_5_moe-f32")
_TOKENS = 12
_RATE = 10  # frames a second of the videos that the frames are from


class Watcher(Looker):
    """One tiny model, and questions about videos in *folder*."""

    def film(self, seed: int, frames: int = 6, size: tuple[int, int] = (96, 64)) -> Path:
        file = self.folder / f"{seed}-{frames}-{size[0]}.frames"
        if not file.exists():
            write_frames(file, ((number * 5 / _RATE, shade(number, frames, seed, size)) for number in range(frames)))
        return file

    def ask(self, name: str, *parts: str | Path) -> TextWork:
        """Return a question of texts, pictures and the frames of videos in this order."""
        content: list[dict[str, Any]] = [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "video" if part.suffix == ".frames" else "image", "blob": part.name, "path": part}
            for part in parts
        ]
        request = {"messages": [{"role": "user", "content": content}], "temperature": 0.0, "max_tokens": _TOKENS}
        work = self.frontend.prepare(name, "chat", request, seed=1)
        assert isinstance(work, TextWork)
        return work

    def answer(self, *parts: str | Path) -> list[int]:
        return run(self.open(), self.ask("alone", *parts))["alone"].ids


@pytest.fixture
def watcher(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path], tmp_path: Path) -> Iterator[Watcher]:
    watcher = Watcher(tiny_model(request.param), tmp_path)
    yield watcher
    watcher.close()


def by_the_library(watcher: Watcher, *parts: str | Path, videos_as_pictures: bool = False) -> tuple[list[int], list[int]]:
    """Return the prompt and the answer of mlx-vlm's own processor and generator.

    Args:
        watcher: The model.
        parts: As they are asked.
        videos_as_pictures: Hand over the first of each pair of frames as a picture; the seconds stand before it.
    """
    from mlx_vlm.generate import stream_generate
    from mlx_vlm.utils import prepare_inputs

    model, processor = _loaded(watcher.directory)
    generate: Any = stream_generate
    tokenizer: Any = processor.tokenizer
    content: list[dict[str, Any]] = []
    media: dict[str, list[Any]] = {}
    for part in parts:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
        elif part.suffix != ".frames":
            content.append({"type": "image"})
            media.setdefault("image", []).append(_picture(part))
        else:
            times_s = read_frames(part).times_s
            frames = [open_frame(part, number) for number in range(len(times_s))]
            if videos_as_pictures:
                for first in range(0, len(frames), 2):
                    content += [{"type": "text", "text": f"<{(times_s[first] + times_s[first + 1]) / 2:.1f} seconds>"}, {"type": "image"}]
                    media.setdefault("image", []).append(frames[first])
            else:
                content.append({"type": "video"})
                media.setdefault("video", []).append(np.stack([np.asarray(frame) for frame in frames]))
                taken = [round(time_s * _RATE) for time_s in times_s]
                media.setdefault("video_metadata", []).append({"total_num_frames": taken[-1] + 1, "fps": _RATE, "frames_indices": taken})
    turns = [{"role": "user", "content": content}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    renamed = {{"image": "images", "video": "videos"}.get(name, name): list(values) for name, values in media.items()}
    read = prepare_inputs(processor, prompts=prompt, **renamed)["input_ids"].tolist()[0]
    said = [int(one.token) for one in generate(model, processor, prompt, max_tokens=_TOKENS, temperature=0.0, **media)]
    return read, said[:_TOKENS]


@cache
def _loaded(directory: Path) -> tuple[Any, Any]:
    from mlx_vlm.utils import load

    return load(str(directory))


def _picture(file: Path) -> Any:  # noqa: ANN401 - of Pillow
    from PIL import Image

    return Image.open(file).convert("RGB")


@pytest.mark.parametrize("watcher", WATCHING, indirect=True)
@pytest.mark.parametrize("frames", [6, 5])
def test_a_video_is_seen_as_the_library_sees_it(watcher: Watcher, frames: int) -> None:
    parts = ("Look: ", watcher.film(1, frames), "What happens?")
    read, said = by_the_library(watcher, *parts)
    assert list(watcher.ask("x", *parts).prompt) == read
    ours = watcher.answer(*parts)
    assert len(ours) > 3
    assert said[: len(ours)] == ours


@pytest.mark.parametrize("watcher", ["qwen3_vl-f32"], indirect=True)
def test_pictures_beside_a_video_are_seen_as_the_library_sees_them(watcher: Watcher) -> None:
    parts = ("First", watcher.picture(2), "then", watcher.film(1), "and", watcher.picture(3), "What?")
    read, said = by_the_library(watcher, *parts)
    assert list(watcher.ask("x", *parts).prompt) == read
    ours = watcher.answer(*parts)
    assert said[: len(ours)] == ours


@pytest.mark.parametrize("watcher", ["qwen3_5-f32", "qwen3_5_moe-f32"], indirect=True)
def test_pictures_beside_a_video_are_seen_where_the_library_cannot_show_both(watcher: Watcher) -> None:
    """Of Qwen3.5 it takes either. A video in which nothing moves looks like a picture for each pair of its frames."""
    still = watcher.folder / "still.frames"
    write_frames(still, ((number / _RATE, shade(1, 2)) for number in range(4)))
    parts = ("First", watcher.picture(2), "then", still, "and", watcher.picture(3), "What?")
    ours = watcher.answer(*parts)
    _, said = by_the_library(watcher, *parts, videos_as_pictures=True)
    assert len(ours) > 3
    assert said[: len(ours)] == ours


@pytest.mark.parametrize("watcher", WATCHING, indirect=True)
def test_company_changes_nothing_and_each_pair_of_frames_is_encoded_once(watcher: Watcher) -> None:
    questions: list[tuple[str | Path, ...]] = [
        (watcher.film(1), "What happens?"),
        ("A river runs to the sea.",),
        (watcher.picture(2), "And", watcher.film(2, 4), "Compare."),
        ("Again:", watcher.film(1), "Who wins?"),
    ]
    alone = [watcher.answer(*parts) for parts in questions]
    engine = watcher.open()
    together = run(engine, *(watcher.ask(str(n), *parts) for n, parts in enumerate(questions)))
    assert [together[str(n)].ids for n in range(len(questions))] == alone
    assert engine._sight is not None  # noqa: SLF001
    assert engine._sight.encoded == 3 + 1 + 2  # noqa: SLF001
    assert alone[0] != watcher.answer(watcher.film(2), "What happens?")


@pytest.mark.parametrize("watcher", ["qwen3_vl-f32"], indirect=True)
def test_what_is_no_video_for_this_model_is_refused_by_its_place(watcher: Watcher) -> None:
    with pytest.raises(InvalidRequest, match="1 marks for 0 videos"):
        watcher.ask("marks", "<|vision_start|><|video_pad|><|vision_end|>")
    with pytest.raises(InvalidRequest, match="marks"):
        watcher.ask("mark", watcher.film(1), "<|video_pad|>")
    with pytest.raises(InvalidRequest, match="video of 20 x 64 pixels") as refused:
        watcher.ask("small", "What?", watcher.film(1, size=(20, 64)))
    assert refused.value.param == "messages.0.content.1"


@pytest.mark.parametrize(
    ("name", "match", "param"),
    [("paddleocr_vl-f32", "does not take videos", "messages.0.content.1"), ("qwen3-f32", "does not take pictures", "model")],
)
def test_a_model_that_does_not_watch_says_so(tiny_model: Callable[[str], Path], tmp_path: Path, name: str, match: str, param: str) -> None:
    watcher = Watcher(tiny_model(name), tmp_path)
    with pytest.raises(InvalidRequest, match=match) as refused:
        watcher.ask("x", "What?", watcher.film(1))
    assert refused.value.param == param


def test_frames_are_chosen_as_the_library_chooses_them() -> None:
    from mlx_vlm.utils import DEFAULT_VIDEO_SAMPLING as LIBRARY

    assert (LIBRARY.fps, LIBRARY.min_frames, LIBRARY.max_frames, LIBRARY.frame_factor) == (FRAMES_PER_S, LEAST_FRAMES, MOST_FRAMES, 2)
    assert chosen(30, 3.0) == [0, 6, 12, 17, 23, 29]
    assert (chosen(1, 0.1), chosen(3, 0.1), chosen(25, 1.0)) == ([0], [0, 2], [0, 8, 16, 24])
    assert len(chosen(100_000, 600.0)) == MOST_FRAMES
