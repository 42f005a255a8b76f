"""The text engine: what a request gets, whoever is beside it and whatever broke before."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import mlx.core as mx
import pytest

from app.engines import vlm_library
from app.engines.pace import Pace
from app.engines.protocols import Finished, Prefilled, Sampling, TextWork, Tokens, Work
from app.errors import EngineFailed
from tests.conformance.driver import Outcome, Run, run, same
from tests.conformance.subjects import FAULTY_TOKEN, Subject, poisoned

CACHE = 2**26
PARAMETERS: dict[str, dict[str, Any]] = {
    "cold": {"temperature": 0.0},
    "hot": {"temperature": 1.5},
    "filtered": {"temperature": 1.0, "top_p": 0.9, "top_k": 40, "min_p": 0.01},
    "penalised": {"temperature": 0.9, "repetition_penalty": 1.2, "presence_penalty": 0.5, "frequency_penalty": 0.4},
    "cold and penalised": {"temperature": 0.0, "frequency_penalty": 1.0},
}


def alone(subject: Subject, work: Work, **options: Any) -> Outcome:  # noqa: ANN401
    (outcome,) = run(subject.open(**options), work).values()
    return outcome


def greedy(subject: Subject, prompt: Sequence[int], count: int) -> list[int]:
    """The likeliest tokens, by reading the whole text again for each: no cache, no batch, nothing of ours."""
    model = vlm_library.load_lazily(subject.directory)
    ids = list(prompt)
    for _ in range(count):
        tokens = mx.array([ids])
        output = model.language_model(tokens, inputs_embeds=model.get_input_embeddings(tokens).inputs_embeds)
        ids.append(int(cast("int", mx.argmax(output.logits[0, -1]).item())))
    return ids[len(prompt) :]


def test_sixteen_at_once_half_cold_half_hot_each_get_their_solo_answer(text: Subject) -> None:
    works = [text.work(number, size=24, temperature=0.0 if number < 8 else 1.5) for number in range(16)]
    together = run(text.open(), *works)
    for work, outcome in zip(works, together.values(), strict=True):
        assert same(outcome, alone(text, work))


def test_experts_too_are_chosen_for_each_request_by_itself(subject_named: Callable[[str], Subject]) -> None:
    experts = subject_named("qwen3_5_moe-f32")
    works = [experts.work(number, size=16, temperature=0.0 if number < 4 else 1.5) for number in range(8)]
    for work, outcome in zip(works, run(experts.open(), *works).values(), strict=True):
        assert same(outcome, alone(experts, work))
    experts.close_all()


def test_a_cold_answer_is_what_the_model_itself_finds_likeliest(text: Subject) -> None:
    works = [text.work(number, size=16, temperature=0.0) for number in (0, 2, 4)]
    for work, outcome in zip(works, run(text.open(), *works).values(), strict=True):
        assert outcome.ids == greedy(text, text.tokens(int(work.id[5:])), len(outcome.ids))


def test_parameters_of_every_kind_share_a_batch_and_no_answer_changes(text: Subject) -> None:
    works = [text.work(number, size=20, **parameters) for number, parameters in enumerate([*PARAMETERS.values(), *PARAMETERS.values()])]
    for work, outcome in zip(works, run(text.open(), *works).values(), strict=True):
        assert same(outcome, alone(text, work))


def test_a_seed_gives_one_answer_and_another_seed_another(text: Subject) -> None:
    first, again, other = (alone(text, text.work(1, size=20, seed=seed)) for seed in (5, 5, 6))
    assert first.ids == again.ids != other.ids


@pytest.mark.parametrize("kind", list(PARAMETERS))
def test_an_answer_taken_up_after_any_token_goes_on_as_if_it_had_not_broken(text: Subject, kind: str) -> None:
    whole = alone(text, text.work(1, size=14, **PARAMETERS[kind]))
    works = []
    for cut in range(len(whole.ids)):
        work = text.work(1, size=14, published=tuple(whole.ids[:cut]), **PARAMETERS[kind])
        works.append(renamed(work, f"cut-{cut}"))
    for cut, outcome in enumerate(run(text.open(slots=4, cache_bytes=CACHE), *works).values()):
        assert outcome.ids == whole.ids[cut:]
        shown = "".join(event.text for event in tokens_of(whole)[:cut])
        assert shown + outcome.text == whole.text
        assert (outcome.finished.reason, outcome.finished.completion_tokens) == (whole.finished.reason, whole.finished.completion_tokens)


def test_an_answer_that_was_complete_ends_without_the_gpu(text: Subject) -> None:
    whole = alone(text, text.work(2, size=6))
    one = Run(text.open())
    one.engine.add(text.work(2, size=6, published=tuple(whole.ids)))
    assert not one.engine.stepping()
    assert list(one.engine.step()) == [Finished("work-2", whole.finished.reason, len(text.tokens(2)), len(whole.ids), 0)]
    assert not one.engine.has_work


def test_a_stop_string_ends_an_answer_before_itself(text: Subject) -> None:
    whole = alone(text, text.work(1, size=30))
    middle = whole.text[len(whole.text) // 2 :][:3]
    stopped = alone(text, text.work(1, size=30, stop=("never said", middle)))
    assert stopped.text == whole.text[: whole.text.index(middle)]
    assert (stopped.finished.reason, stopped.finished.stopped_by) == ("stop", middle)
    assert whole.finished.stopped_by is None
    assert stopped.finished.completion_tokens <= whole.finished.completion_tokens


def test_an_end_token_ends_an_answer_is_counted_and_has_no_text(text: Subject) -> None:
    whole = alone(text, text.work(1, size=20))
    end = whole.ids[9]
    ended = alone(text, text.work(1, size=20), ends={end})
    expected = whole.ids[: whole.ids.index(end) + 1]
    assert ended.ids == expected
    assert (ended.finished.reason, ended.finished.completion_tokens) == ("stop", len(expected))
    assert ended.text == alone(text, text.work(1, size=len(expected) - 1)).text


def test_further_answers_leave_room_for_others_and_are_not_starved_by_them(text: Subject) -> None:
    one = Run(text.open(slots=4))
    one.add(*(replace(cast("TextWork", text.work(number, size=40)), extra=number > 0) for number in range(10)))
    for _ in range(20):
        one.step()
    assert len(one.steps[-1]) == 3
    one.add(text.work(20, size=2))
    one.step()
    assert "work-20" in one.steps[-1]
    one.add(*(text.work(30 + number, size=30) for number in range(40)))
    one.finish()
    began = [name for name in dict.fromkeys(name for step in one.steps for name in step) if name != "work-20"]
    places = [began.index(f"work-{number}") for number in range(3, 10)]
    assert all(after - before <= 10 for before, after in pairwise(places))
    for number in (1, 9, 69):
        expected = alone(text, text.work(number, size=40 if number < 10 else 30))
        assert same(one.outcomes[f"work-{number}"], expected)


def test_one_token_is_one_token(text: Subject) -> None:
    outcome = alone(text, text.work(2, size=1))
    assert len(outcome.ids) == 1
    assert (outcome.finished.reason, outcome.finished.completion_tokens) == ("length", 1)


def test_a_prompt_of_one_token_is_answered(text: Subject) -> None:
    prompt = text.tokens(3)[:1]
    assert alone(text, text.work(2, prompt=prompt, size=6)).ids == greedy(text, prompt, 6)


def test_a_long_prompt_is_read_in_pieces_and_stops_nobody(text: Subject) -> None:
    prompt = long_prompt(text)[:1000]
    one = Run(text.open())
    one.add(text.work(2, size=100))
    for _ in range(5):
        one.step()
    one.add(text.work(4, size=8, prompt=prompt))
    begun = len(one.outcomes["work-2"].ids)
    while not one.outcomes["work-4"].events:
        before = len(one.outcomes["work-2"].ids)
        one.step()
        assert len(one.outcomes["work-2"].ids) == before + 1
    assert len(one.outcomes["work-2"].ids) - begun >= 3
    outcomes = one.finish()
    assert outcomes["work-4"].ids == greedy(text, prompt, len(outcomes["work-4"].ids))
    assert same(outcomes["work-2"], alone(text, text.work(2, size=100)))


@pytest.mark.parametrize("length", [400, 1500])
@pytest.mark.parametrize("kind", ["cold", "hot"])
def test_a_prefix_read_before_is_not_read_again_and_changes_nothing(text: Subject, kind: str, length: int) -> None:
    prompt = long_prompt(text)[:length]
    engine = text.open(cache_bytes=CACHE)
    expected = alone(text, text.work(1, prompt=prompt, **PARAMETERS[kind]))
    first = run(engine, text.work(1, prompt=prompt, **PARAMETERS[kind]))["work-1"]
    again = run(engine, text.work(1, prompt=prompt, **PARAMETERS[kind]))["work-1"]
    assert same(first, expected)
    assert same(again, expected)
    assert first.finished.cached_tokens == 0
    assert length - 50 < again.finished.cached_tokens < length
    assert Prefilled("work-1", again.finished.cached_tokens) in again.events


@pytest.mark.parametrize("length", [320, 1500])
def test_a_prefix_is_shared_by_requests_that_differ_after_it(text: Subject, length: int) -> None:
    prompt = long_prompt(text)[:length]
    longer = [(*prompt, *text.tokens(number)) for number in (5, 6, 7)]
    engine = text.open(cache_bytes=CACHE)
    run(engine, text.work(0, prompt=prompt))
    works = [text.work(number, prompt=ids) for number, ids in zip((5, 6, 7), longer, strict=True)]
    for work, outcome in zip(works, run(engine, *works).values(), strict=True):
        assert outcome.finished.cached_tokens >= length - 64
        assert same(outcome, alone(text, work))


def test_the_prefix_cache_keeps_within_its_bytes(text: Subject) -> None:
    bound = 2**20
    engine = text.open(cache_bytes=bound)
    run(engine, text.work(0))
    before = active_bytes()
    for number in range(12):
        prompt = (*text.tokens(number), *long_prompt(text)[:500])
        run(engine, text.work(number, prompt=prompt, size=2))
        assert active_bytes() <= before + bound * 1.02  # a buffer that is used again may be a little larger than asked for


def test_the_prefix_cache_leaves_when_its_room_is_wanted(text: Subject) -> None:
    model = vlm_library.load_lazily(text.directory)
    batch = vlm_library.TextBatch(model, slots=4, eos_token_ids=frozenset(), cache_bytes=CACHE, pace=Pace(start=64, least=64, most=64))
    held = []
    for most_bytes in (CACHE, 0):
        batch.insert(long_prompt(text), 0, 4, Sampling(seed=1))
        while batch.prefilling:
            batch.step()
        for _ in range(4):
            batch.step()
        assert batch.limit_prefix_cache(most_bytes) == most_bytes
        held.append(active_bytes())
    assert held[1] < held[0] - 2**18
    batch.close()


def test_a_late_request_that_breaks_the_model_costs_nobody_a_token(text: Subject) -> None:
    one = Run(text.open(change=poisoned))
    one.add(*(text.work(number, size=20) for number in range(4)))
    for _ in range(12):
        one.step()
    one.add(text.work(9, faulty=True))
    outcomes = one.finish()
    assert isinstance(outcomes.pop("work-9").error, EngineFailed)
    for number, outcome in enumerate(outcomes.values()):
        assert same(outcome, alone(text, text.work(number, size=20)))
        assert sum(isinstance(event, Prefilled) for event in outcome.events) == 1


def test_a_model_that_breaks_on_everything_fails_every_request_and_none_for_ever(text: Subject) -> None:
    prompt = (FAULTY_TOKEN, *text.tokens(1))
    outcomes = run(text.open(change=poisoned), *(text.work(number, prompt=prompt) for number in range(5)))
    assert all(isinstance(outcome.error, EngineFailed) for outcome in outcomes.values())


def test_cancelling_frees_what_the_answer_held(text: Subject) -> None:
    one = Run(text.open())
    run(one.engine, text.work(0))
    before = active_bytes()
    for steps in (1, 2, 6, 9):
        one.add(text.work(1, prompt=long_prompt(text), size=50))
        for _ in range(steps):
            one.step()
        one.cancel("work-1")
        assert active_bytes() <= before * 1.01


def long_prompt(subject: Subject) -> tuple[int, ...]:
    return tuple(token for number in range(80) for token in subject.tokens(number))[:1500]


def tokens_of(outcome: Outcome) -> list[Tokens]:
    return [event for event in outcome.events if isinstance(event, Tokens)]


def renamed(work: Work, name: str) -> Work:
    return replace(work, id=name)


def active_bytes() -> int:
    gc.collect()
    mx.synchronize()
    mx.clear_cache()
    return int(mx.get_active_memory())
