"""The embedding engine: the right vectors, whoever shares the batch."""

from __future__ import annotations

import gc
from typing import Any, cast

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from app.engines import embeddings_library
from app.engines.checkpoint import Checkpoint
from app.engines.micro_batches import padded_length
from app.engines.pooling import Pooling, pooling_of, unit_rows
from app.engines.protocols import EmbeddingWork
from tests.conformance.driver import Run, run
from tests.conformance.subjects import Subject


def by_the_library(subject: Subject, rows: tuple[tuple[int, ...], ...]) -> npt.NDArray[np.float32]:
    """The vectors of mlx-embeddings itself, each row alone and without padding."""
    pooling = pooling_of(Checkpoint.read(subject.directory))
    model = cast("Any", embeddings_library.load_lazily(subject.directory, pooling))
    return np.stack([np.array(model(mx.array([row])).text_embeds[0]) for row in rows])


def test_vectors_are_those_of_the_library_in_the_order_of_the_texts(embedding: Subject) -> None:
    rows = tuple(embedding.tokens(number, 200)[:length] for number, length in enumerate((3, 40, 1, 400, 12, 12, 90, 2)))
    outcome = run(embedding.open(), EmbeddingWork("w", rows))["w"]
    assert outcome.rows.dtype == np.float32
    np.testing.assert_allclose(outcome.rows, by_the_library(embedding, rows), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(outcome.rows, axis=1), 1, atol=1e-5)


def test_pooling_is_the_checkpoint_s_and_not_the_architecture_s(embedding: Subject) -> None:
    model = embeddings_library.load_lazily(embedding.directory, Pooling.CLS)
    rows = [embedding.tokens(1, 9), embedding.tokens(2, 9)[:5]]
    ids = mx.array([[*row, *[0] * (30 - len(row))] for row in rows])
    lengths = mx.array([len(row) for row in rows], dtype=mx.int32)
    for pooling, place in ((Pooling.CLS, 0), (Pooling.LAST, -1)):
        vectors = unit_rows(embeddings_library.embed(model, ids, lengths, pooling))
        for vector, row in zip(vectors, rows, strict=True):
            hidden = cast("Any", model)(mx.array([row])).last_hidden_state[0, place]
            np.testing.assert_allclose(np.array(vector), np.array(hidden / mx.linalg.norm(hidden)), atol=1e-5)


def test_hundreds_of_texts_span_several_steps_and_others_pass_between(embedding: Subject) -> None:
    one = Run(embedding.open())
    many = EmbeddingWork("many", tuple(embedding.tokens(number, 30) for number in range(256)))
    one.add(many)
    one.step()
    assert one.outcomes["many"].end is None
    one.add(EmbeddingWork("few", (embedding.tokens(1, 5), embedding.tokens(2, 100))))
    while one.outcomes["few"].end is None:
        one.step()
    assert one.outcomes["many"].end is None
    assert one.finish()["many"].rows.shape[0] == 256


def test_requests_that_come_together_share_their_steps(embedding: Subject) -> None:
    one = Run(embedding.open())
    one.add(*(EmbeddingWork(f"w{number}", (embedding.tokens(number, 8),)) for number in range(8)))
    one.step()
    assert len(one.steps[0]) > 1


def test_memory_stays_within_bounds_over_many_lengths(embedding: Subject) -> None:
    engine = embedding.open()
    run(engine, EmbeddingWork("first", (embedding.tokens(0, 200),)))
    before = active_bytes()
    for length in range(1, 200, 3):
        run(engine, EmbeddingWork("w", tuple(embedding.tokens(number, length) for number in range(3))))
        assert mx.get_cache_memory() <= 2**26
    assert active_bytes() <= before * 1.01


def test_lengths_are_rounded_to_few_and_a_quarter_at_most_is_padding() -> None:
    assert len({padded_length(tokens) for tokens in range(1, 8193)}) < 50
    for tokens in range(1, 8193):
        assert tokens <= padded_length(tokens) <= max(tokens + 15, tokens * 5 // 4)


def active_bytes() -> int:
    gc.collect()
    mx.synchronize()  # on NVIDIA a buffer is free once the device has passed the point of freeing it
    mx.clear_cache()
    return int(mx.get_active_memory())
