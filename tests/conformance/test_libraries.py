"""The names that libraries keep to themselves and we use: each test fails when one moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest
from mlx_embeddings import utils as embeddings_utils
from mlx_lm.generate import TextStateMachine
from mlx_vlm.generate import BatchGenerator

from app.engines import vlm_library
from app.engines.pace import Pace
from app.engines.protocols import Sampling
from app.engines.vlm_library import TextBatch
from tests.conformance.subjects import Subject


class FixedPace(Pace):
    """Slices of one size, remembering what it was told."""

    def __init__(self, size: int) -> None:
        super().__init__(start=size, least=size, most=size)
        self.told: list[int] = []

    def record(self, done: int, seconds: float) -> None:
        self.told.append(done)


def batch_of(subject: Subject, pace: Pace, *, cache_bytes: int = 0) -> TextBatch:
    model = vlm_library.load_lazily(subject.directory)
    return TextBatch(model, slots=4, eos_token_ids=frozenset(), cache_bytes=cache_bytes, pace=pace)


def prompt_of(subject: Subject, tokens: int) -> list[int]:
    return [token for number in range(40) for token in subject.tokens(number)][:tokens]


def test_a_prompt_is_read_in_pieces_of_the_size_asked_for_and_each_is_reported(text: Subject) -> None:
    pace = FixedPace(64)
    batch = batch_of(text, pace)
    batch.insert(prompt_of(text, 201), 0, 1, Sampling(seed=1))
    while batch.prefilling:
        batch.step()
    assert pace.told == [64, 64, 64, 9]


def test_the_size_changes_in_the_middle_of_a_prompt(text: Subject) -> None:
    pace = FixedPace(64)
    batch = batch_of(text, pace)
    batch.insert(prompt_of(text, 300), 0, 1, Sampling(seed=1))
    batch.step()
    pace.size = 128
    while batch.prefilling:
        batch.step()
    assert pace.told == [64, 128, 108]


def test_a_prompt_that_fits_in_a_piece_is_read_in_one_step(text: Subject) -> None:
    batch = batch_of(text, FixedPace(64))
    batch.insert(prompt_of(text, 64), 0, 1, Sampling(seed=1))
    assert batch.step().prefilled


def test_a_prompt_whose_unread_end_fits_in_a_piece_is_read_in_one_step(subject_named: Callable[[str], Subject]) -> None:
    batch = batch_of(subject_named("qwen3-f32"), FixedPace(64), cache_bytes=2**26)
    prompt = prompt_of(subject_named("qwen3-f32"), 300)
    batch.insert(prompt[:250], 0, 1, Sampling(seed=1))
    while batch.prefilling:
        batch.step()
    row = batch.insert(prompt, 0, 1, Sampling(seed=1))
    assert batch.step().prefilled == ((row, 250),)


@pytest.mark.parametrize("read_before", [0, 5, 30])
def test_short_prompts_are_read_together_in_one_step(subject_named: Callable[[str], Subject], read_before: int) -> None:
    subject = subject_named("qwen3-f32")
    batch = batch_of(subject, FixedPace(64), cache_bytes=2**26)
    prompts = [prompt_of(subject, 20 + read_before), [*prompt_of(subject, read_before), *subject.tokens(70)[:12]]]
    batch.insert([*prompt_of(subject, read_before), 5], 0, 9, Sampling(seed=1))
    batch.step()
    assert batch.takes(prompts)
    assert not batch.takes(prompts * 6)
    rows = [batch.insert(prompt, 0, 1, Sampling(seed=1)) for prompt in prompts]
    tick = batch.step()
    assert sorted(row for row, _ in tick.prefilled) == rows
    assert {cached for _, cached in tick.prefilled} == {read_before if read_before >= 8 else 0}


def test_prompts_of_families_that_padding_changes_are_read_one_by_one(subject_named: Callable[[str], Subject]) -> None:
    subject = subject_named("qwen3_vl-f32")
    batch = batch_of(subject, FixedPace(64))
    assert batch.takes([prompt_of(subject, 200)])
    assert not batch.takes([[1, 2], [3, 4]])


def test_prompts_read_together_are_read_in_pieces_where_all_of_them_are_more_than_a_step_may_read(
    subject_named: Callable[[str], Subject],
) -> None:
    subject = subject_named("qwen3-f32")
    pace = FixedPace(64)
    batch = batch_of(subject, pace)
    prompts = [prompt_of(subject, 40), prompt_of(subject, 41)[1:]]
    assert batch.takes(prompts, piece=80)
    assert not batch.takes(prompts, piece=79)
    for prompt in prompts:
        batch.insert(prompt, 0, 1, Sampling(seed=1), piece=32)
    while batch.prefilling:
        batch.step()
    assert pace.told == [32, 32, 16]


def test_a_prompt_most_of_which_was_read_before_is_not_padded_by_one_that_was_not(subject_named: Callable[[str], Subject]) -> None:
    subject = subject_named("qwen3-f32")
    batch = batch_of(subject, FixedPace(64), cache_bytes=2**26)
    before = prompt_of(subject, 64)
    batch.insert(before, 0, 9, Sampling(seed=1))
    batch.step()
    assert batch.takes([[*before, 5], [*before, 6, 7]])
    assert not batch.takes([[*before, 5], list(subject.tokens(70)[:12])])


def test_logits_are_made_of_the_last_place_alone(text: Subject) -> None:
    model = vlm_library.load_lazily(text.directory)
    TextBatch(model, slots=4, eos_token_ids=frozenset(), cache_bytes=0, pace=FixedPace(64))
    tokens = mx.array([prompt_of(text, 20)])
    assert model.language_model(tokens, inputs_embeds=model.get_input_embeddings(tokens).inputs_embeds).logits.shape[:2] == (1, 1)


def test_positions_count_from_zero_for_the_first_token_and_go_on_where_an_answer_was_taken_up(text: Subject) -> None:
    seen: list[tuple[int, ...]] = []
    inner = TextBatch.sample_target

    class Watched(TextBatch):
        def sample_target(self, logprobs: mx.array, *, row_ids: Any, positions: Any) -> mx.array:  # noqa: ANN401
            seen.append(tuple(positions))
            return inner(self, logprobs, row_ids=row_ids, positions=positions)

    model = vlm_library.load_lazily(text.directory)
    batch = Watched(model, slots=4, eos_token_ids=frozenset(), cache_bytes=0, pace=FixedPace(64))
    batch.insert(prompt_of(text, 9), 3, 4, Sampling(seed=1))
    tokens = [token for _ in range(6) for _, token in batch.step().tokens]
    assert len(tokens) == 4
    assert seen == [(0,), (1,), (2,), (3,), (4,)]


def test_prompts_share_a_prefix_although_the_generator_hashes_their_embeddings_unless_told(text: Subject) -> None:
    batch = batch_of(text, FixedPace(64), cache_bytes=2**26)
    cached: list[int] = []
    for more in ((), text.tokens(1)):
        batch.insert([*prompt_of(text, 120), *more], 0, 1, Sampling(seed=1))
        while batch.prefilling:
            cached.extend(count for _, count in batch.step().prefilled)
    assert cached[0] == 0
    assert cached[1] >= 96


def test_private_names_are_where_we_use_them() -> None:
    assert callable(embeddings_utils._get_model_arch)  # noqa: SLF001
    assert callable(TextStateMachine.step)
    assert callable(TextStateMachine.flush)
    for name in ("insert", "next", "remove", "close", "has_pending_prompts", "stream"):
        assert hasattr(BatchGenerator, name)
