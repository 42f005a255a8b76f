"""What the scheduler may expect of the engine that hears, over a tiny model of each family."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import pytest

from app.engines.faults import RequestTooLarge
from app.engines.hearing import Heard, Spans
from app.engines.ledger import KvAccount, KvLedger
from app.engines.protocols import EmbeddingWork
from app.errors import EngineFailed, ModelLoadFailed
from tests.conformance.driver import Outcome, Run, run, same
from tests.conformance.hearing_subjects import HEARING, Ear, frontend_over
from tests.spoken import silence, write_pcm


@pytest.fixture(params=HEARING)
def ear(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path], tmp_path: Path) -> Iterator[Ear]:
    ear = Ear(tiny_model(request.param), tmp_path)
    yield ear
    ear.close_all()


def solo(ear: Ear, *numbers: int) -> list[Outcome]:
    """Run each work by itself, on an engine of its own."""
    outcomes: list[Outcome] = []
    for number in numbers:
        engine = ear.open()
        outcomes.extend(run(engine, ear.work(number)).values())
        ear.close(engine)
    return outcomes


def test_a_load_comes_in_slices_and_ends_with_one_engine(ear: Ear) -> None:
    frontend = frontend_over(ear.directory, slots=3)
    *slices, engine = frontend.open()
    assert slices
    assert all(nothing is None for nothing in slices)
    assert engine is not None
    assert engine.slots == frontend.slots == 3
    assert not engine.has_work
    assert not engine.step()
    engine.close()


def test_a_load_given_up_half_way_leaves_nothing(ear: Ear) -> None:
    before = active_bytes()
    loading = frontend_over(ear.directory).open()
    assert next(loading) is None
    del loading
    assert active_bytes() <= before


def test_different_recordings_give_different_texts_of_the_length_asked_for(ear: Ear) -> None:
    texts = [outcome.heard.text for outcome in solo(ear, 0, 2, 4)]
    assert len(set(texts)) > 1
    heard = run(ear.open(), ear.work(1, max_tokens=5))["work-1"].heard
    assert 0 < heard.completion_tokens <= 3 * 6


def test_company_changes_no_text_and_everybody_gets_turns(ear: Ear) -> None:
    one = Run(ear.open(slots=3))
    one.add(*(ear.work(number) for number in range(5)), ear.spans(0))
    outcomes = one.finish()
    assert isinstance(outcomes.pop("spans-0").end, Spans)
    for outcome, expected in zip(outcomes.values(), solo(ear, *range(5)), strict=True):
        assert same(outcome, expected)
    assert all(len(named) == 1 for named in one.steps)
    begun = list(dict.fromkeys(name for named in one.steps for name in named))
    assert begun == [*(f"work-{number}" for number in range(5)), "spans-0"]


def test_what_somebody_waits_for_is_heard_before_what_nobody_does(ear: Ear) -> None:
    one = Run(ear.open())
    one.add(*(replace(ear.work(number), patient=True) for number in range(3)))
    one.step()
    person = ear.work(3)
    one.add(person)
    one.step()
    assert one.steps[-1] == [person.id]
    for outcome, expected in zip(one.finish().values(), solo(ear, 0, 1, 2, 3), strict=True):
        assert same(outcome, expected)


def test_what_is_drawn_depends_on_the_seed_and_on_nothing_global(ear: Ear) -> None:
    engine = ear.open()  # a load draws the weights that it then replaces

    def text(seed: int) -> str:
        return run(engine, ear.work(1, seed=seed, temperature=1.5))["work-1"].heard.text

    mx.random.seed(1)
    undisturbed = mx.random.uniform().item()
    mx.random.seed(1)
    first = text(7)
    assert mx.random.uniform().item() == undisturbed
    assert text(7) == first
    assert any(text(seed) != first for seed in (8, 9))


def test_cancelling_at_any_moment_leaves_no_trace_and_no_neighbour_notices(ear: Ear) -> None:
    engine = ear.open(slots=2)
    expected = solo(ear, 0, 2)
    for phases in (0, 1, 3):
        one = Run(engine)
        one.add(ear.work(0), ear.work(1, seconds=9, max_tokens=90), ear.work(2))
        for _ in range(phases):
            one.step()
        one.cancel("work-1")
        assert "work-1" not in engine.stepping()
        for outcome, other in zip(one.finish().values(), expected, strict=True):
            assert same(outcome, other)


def test_cancelling_the_last_work_leaves_nothing_to_do_and_its_memory_comes_back(ear: Ear) -> None:
    engine = ear.open()
    run(engine, ear.work(0))
    before = active_bytes()
    one = Run(engine)
    one.add(ear.work(1, seconds=20, max_tokens=200))
    one.step()
    one.cancel("work-1")
    assert not engine.has_work
    assert active_bytes() <= before * 1.01
    engine.cancel("nobody")


def test_a_recording_that_cannot_be_read_fails_by_itself(ear: Ear) -> None:
    engine = ear.open()
    gone = ear.work(1, audio=ear.folder / "gone.pcm")
    outcomes = run(engine, ear.work(0), gone, ear.work(2))
    assert isinstance(outcomes.pop("work-1").error, EngineFailed)
    assert all(isinstance(outcome.end, Heard) for outcome in outcomes.values())


def test_a_model_of_no_numbers_fails_the_work_and_the_next_is_as_before(ear: Ear) -> None:
    engine = ear.open()
    before = run(engine, ear.work(0))["work-0"]
    norm = _last_norm(engine._listener)  # noqa: SLF001 - to break the model as it lies in memory
    healthy = norm.weight
    norm.weight = healthy * mx.nan
    error = run(engine, ear.work(0))["work-0"].error
    assert isinstance(error, EngineFailed)
    assert "not finite" in error.message
    norm.weight = healthy
    assert same(run(engine, ear.work(0))["work-0"], before)


def test_silence_is_an_empty_text_and_no_recording_has_no_speech(ear: Ear) -> None:
    quiet = write_pcm(ear.folder / "quiet.pcm", silence(3))
    empty = write_pcm(ear.folder / "empty.pcm", silence(0))
    engine = ear.open()
    heard = run(engine, ear.work(0, audio=quiet, end_s=3.0))["work-0"].heard
    assert (heard.text, heard.segments, heard.completion_tokens) == ("", (), 0)
    spans = ear.spans(0)
    (outcome,) = run(engine, type(spans)("s", empty)).values()
    assert outcome.end == Spans("s", ())


def test_closing_gives_all_memory_back_also_amid_work(ear: Ear) -> None:
    def use_and_close(steps: int) -> None:
        engine = ear.open()
        engine.add(ear.work(0))
        engine.add(ear.work(1, seconds=9, max_tokens=90))
        for _ in range(steps):
            engine.step()
        ear.close(engine)

    use_and_close(2)
    before = active_bytes()
    for steps in (0, 1, 3, 50):
        use_and_close(steps)
        assert active_bytes() <= before


def test_memory_does_not_grow_with_the_work_done(ear: Ear) -> None:
    engine = ear.open()
    run(engine, *(ear.work(number) for number in range(3)))
    before = active_bytes()
    for _ in range(3):
        run(engine, *(ear.work(number) for number in range(3)))
        assert active_bytes() <= before * 1.01


def test_work_of_another_kind_is_refused(ear: Ear) -> None:
    with pytest.raises(TypeError):
        ear.open().add(EmbeddingWork("x", ((1,),)))


def test_a_chunk_waits_for_room_enters_when_there_is_some_and_gives_it_back(ear: Ear) -> None:
    ledger = KvLedger(1)
    engine = ear.open(account=KvAccount(ledger, "ear"))
    one = Run(engine)
    one.add(ear.work(0), ear.work(2))
    assert not engine.stepping()
    assert not engine.step()
    assert engine.wanted_bytes > 0
    ledger.limit_bytes = 1 + engine.wanted_bytes
    assert engine.wanted_bytes == 0
    engine.stepping()
    assert ledger.reserved_bytes == ledger.limit_bytes
    outcomes = one.finish()
    assert all(isinstance(outcome.end, Heard) for outcome in outcomes.values())
    assert ledger.reserved_bytes == 0


def test_a_chunk_that_never_fits_is_refused(ear: Ear) -> None:
    engine = ear.open(account=KvAccount(KvLedger(1), "ear", most_bytes=1))
    with pytest.raises(RequestTooLarge):
        engine.add(ear.work(0))
    assert not engine.has_work


def test_a_chunk_takes_no_more_than_is_said(ear: Ear) -> None:
    needs = ear.footprint
    engine = ear.open()
    assert 0.8 * needs.weights_bytes <= _weights_bytes(engine) <= 1.05 * needs.weights_bytes
    run(engine, ear.work(0))
    before, kept = active_bytes(), 0
    mx.reset_peak_memory()
    one = Run(engine)
    one.add(ear.work(1, seconds=30, max_tokens=400, temperature=1.0, words=False))

    def look() -> None:
        nonlocal kept
        kept = max(kept, active_bytes() - before)

    one.finish(look)
    reserved = needs.one_request_bytes(needs.context // 2, needs.context - needs.context // 2)
    assert 0 < kept <= reserved
    assert int(mx.get_peak_memory()) - before <= reserved + needs.activation_bytes


@pytest.mark.parametrize("name", ["qwen3_asr", "qwen3_asr-4bit", "whisper"])
def test_models_of_every_precision_answer(tiny_model: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    ear = Ear(tiny_model(name), tmp_path)
    outcomes = run(ear.open(), ear.work(0), ear.work(1))
    assert all(isinstance(outcome.end, Heard) for outcome in outcomes.values())
    ear.close_all()


@pytest.mark.parametrize("damage", ["cut in the header", "cut in the data", "of another shape", "a weight is missing"])
def test_weights_that_are_no_good_fail_the_load_and_leave_nothing(ear: Ear, tmp_path: Path, damage: str) -> None:
    directory = tmp_path / "damaged"
    shutil.copytree(ear.directory, directory)
    (file,) = directory.glob("*.safetensors")
    if damage == "of another shape":
        config = json.loads((directory / "config.json").read_text())
        figures = config.get("thinker_config", {}).get("text_config", config)
        figures["intermediate_size" if "intermediate_size" in figures else "d_model"] = 96
        (directory / "config.json").write_text(json.dumps(config))
    elif damage == "a weight is missing":
        weights = dict(cast("dict[str, mx.array]", mx.load(str(file))))
        del weights[next(name for name in weights if "mlp" in name)]
        mx.save_safetensors(str(file), weights)
    else:
        content = file.read_bytes()
        file.write_bytes(content[: 40 if damage == "cut in the header" else len(content) * 2 // 3])
    before = active_bytes()
    with pytest.raises(ModelLoadFailed, match="could not be loaded"):
        list(frontend_over(directory).open())
    assert active_bytes() <= before


def _last_norm(listener: Any) -> Any:  # noqa: ANN401 - of the libraries
    model = listener._model  # noqa: SLF001
    return model.decoder.ln if hasattr(model, "decoder") else model.model.norm


def _weights_bytes(engine: Any) -> int:  # noqa: ANN401 - of the libraries
    from mlx.utils import tree_flatten

    weights = cast("list[tuple[str, mx.array]]", tree_flatten(engine._listener._model.parameters()))  # noqa: SLF001
    return sum(array.nbytes for _, array in weights)


def active_bytes() -> int:
    gc.collect()
    mx.synchronize()
    mx.clear_cache()
    return int(mx.get_active_memory())
