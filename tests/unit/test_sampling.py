"""Draws: each row by its own parameters, whoever is beside it."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engines.penalties import Penalties, penalties_of
from app.engines.protocols import Sampling
from app.engines.sampling import NOT_A_TOKEN, Draw, key_words

VOCABULARY = 50
FLAT = [0.0] * 8


def logprobs(rows: int, seed: int = 0) -> mx.array:
    logits = mx.random.normal((rows, VOCABULARY), key=mx.random.key(seed)) * 2
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def sampling(**parameters: Any) -> Sampling:  # noqa: ANN401
    return Sampling(**{"seed": 1, **parameters})


def drawn(row: Sampling, logits: list[float], times: int) -> Counter[int]:
    values = mx.broadcast_to(mx.array(logits) - mx.logsumexp(mx.array(logits)), (times, len(logits)))
    return Counter(int(token) for token in np.array(Draw([row] * times)(values, range(times))))


def reference_support(row: Sampling, values: np.ndarray[Any, Any]) -> set[int]:
    """Which tokens may be drawn, by the definitions, one token at a time."""
    scaled = values.astype(np.float64) / row.temperature
    order = sorted(range(len(values)), key=lambda token: -scaled[token])
    kept = order[: row.top_k] if row.top_k else order
    probability = {token: math.exp(scaled[token]) for token in kept}
    total, before = sum(probability.values()), 0.0
    nucleus: list[int] = []
    for token in kept:
        if before < row.top_p or not nucleus:
            nucleus.append(token)
        before += probability[token] / total
    return {token for token in nucleus if scaled[token] >= scaled[order[0]] + math.log(row.min_p or 1e-300)}


PARAMETERS = st.builds(
    Sampling,
    seed=st.integers(0, 3),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.5]),
    top_p=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
    top_k=st.sampled_from([0, 1, 3, 20, 400]),
    min_p=st.sampled_from([0.0, 0.05, 0.5]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(PARAMETERS, st.integers(0, 5)), min_size=1, max_size=6))
def test_a_row_draws_the_same_alone_and_in_company(rows: list[tuple[Sampling, int]]) -> None:
    values = logprobs(len(rows))
    together = Draw([row for row, _ in rows])(values, [position for _, position in rows])
    alone = [int(Draw([row])(values[index : index + 1], [position])[0]) for index, (row, position) in enumerate(rows)]
    assert [int(token) for token in np.array(together)] == alone


@settings(max_examples=150, deadline=None)
@given(PARAMETERS.filter(lambda row: row.temperature > 0), st.integers(0, 20))
def test_only_what_the_filters_leave_is_drawn(row: Sampling, seed: int) -> None:
    values = logprobs(1, seed)
    many = Draw([row] * 64)(mx.broadcast_to(values, (64, VOCABULARY)), range(64))
    assert {int(token) for token in np.array(many)} <= reference_support(row, np.array(values[0]))


def test_all_that_the_filters_leave_is_drawn_in_the_end() -> None:
    row = sampling(temperature=1.5, top_p=0.9, top_k=6)
    logits = [3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.0, -1.0]
    assert set(drawn(row, logits, 2000)) == reference_support(row, np.array(logits))


def test_frequencies_follow_the_distribution() -> None:
    logits = [2.0, 1.0, 0.0, -1.0]
    counts = drawn(sampling(temperature=0.7), logits, 4000)
    weights = np.exp(np.array(logits) / 0.7)
    for token, share in enumerate(weights / weights.sum()):
        assert abs(counts[token] / 4000 - share) < 4 * math.sqrt(share * (1 - share) / 4000) + 1e-9


def test_temperature_zero_and_top_k_one_take_the_likeliest() -> None:
    values = logprobs(2)
    tokens = Draw([sampling(temperature=0), sampling(temperature=2, top_k=1)])(values, [0, 0])
    assert tokens.tolist() == mx.argmax(values, axis=-1).tolist()


def test_a_temperature_next_to_zero_takes_the_likeliest() -> None:
    values = logprobs(1)
    assert Draw([sampling(temperature=1e-30)])(values, [0]).tolist() == mx.argmax(values, axis=-1).tolist()


def test_seeds_and_positions_draw_differently() -> None:
    values = mx.zeros((64, VOCABULARY))
    by_seed = Draw([sampling(seed=seed) for seed in range(64)])(values, [0] * 64)
    by_position = Draw([sampling()] * 64)(values, range(64))
    assert len(set(np.array(by_seed).tolist())) > 20
    assert len(set(np.array(by_position).tolist())) > 20


def test_keys_of_neighbouring_seeds_and_positions_never_meet() -> None:
    seeds = [0, 1, 2, 2**32, 2**62, 2**63 - 1]
    assert len({key_words(seed, position) for seed in seeds for position in range(500)}) == 500 * len(seeds)


@pytest.mark.parametrize("row", [sampling(temperature=0), sampling(), sampling(top_p=0.9), sampling(top_k=5)])
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_row_that_is_not_finite_draws_no_token_and_its_neighbour_does(row: Sampling, broken: float) -> None:
    logits = mx.random.normal((2, VOCABULARY), key=mx.random.key(1))
    logits[0, 7] = broken
    values = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    assert Draw([row, row])(values, [3, 3]).tolist() == [NOT_A_TOKEN, Draw([row])(values[1:], [3]).item()]


def test_tokens_that_a_grammar_forbids_are_never_drawn() -> None:
    logits = mx.full((1, VOCABULARY), -mx.inf)
    logits[0, 9] = 1.0
    values = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    for row in (sampling(temperature=0), sampling(temperature=2), sampling(top_p=0.5)):
        assert Draw([row])(values, [0]).tolist() == [9]


def test_bfloat16_rows_are_drawn_too() -> None:
    assert Draw([sampling(top_p=0.9)])(logprobs(1).astype(mx.bfloat16), [0]).dtype == mx.int32


def penalised(penalties: Penalties, logits: list[float], then: list[int]) -> list[float]:
    result = penalties(mx.array([0]), mx.array([logits]))
    for token in then:
        result = penalties.process_last_token(token, mx.array([logits]))
    return [float(value) for value in np.array(result[0])]


def test_no_penalties_no_processor() -> None:
    assert penalties_of(sampling(), [1], []) is None


def test_repetition_counts_prompt_and_answer_and_works_on_both_signs() -> None:
    row = sampling(repetition_penalty=2.0)
    values = penalised(Penalties(row, [0], [1]), [4.0, -4.0, 4.0, -4.0, *FLAT[4:]], [2])
    assert values[:4] == [2.0, -8.0, 2.0, -4.0]


def test_presence_and_frequency_count_the_answer_alone_once_and_each_time() -> None:
    row = sampling(presence_penalty=1.0, frequency_penalty=0.5)
    assert penalised(Penalties(row, [0, 0], [1]), FLAT, [2, 2, 1])[:4] == [0.0, -2.0, -2.0, 0.0]


def test_an_answer_taken_up_is_penalised_as_one_that_never_broke() -> None:
    row = sampling(repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=0.3)
    logits = [1.0, -1.0, 2.0, 0.5, *FLAT[4:]]
    assert penalised(Penalties(row, [0, 5], []), logits, [1, 2, 2]) == penalised(Penalties(row, [0, 5], [1, 2, 2]), logits, [])


def test_penalties_keep_the_type_of_the_logits() -> None:
    row = Penalties(sampling(presence_penalty=1.0), [0], [])
    assert row(mx.array([0]), mx.zeros((1, 8), dtype=mx.bfloat16)).dtype == mx.bfloat16
