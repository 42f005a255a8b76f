"""Voices cloned from recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest
from mlx_audio.codec.models.mimi.modules import SeanetEncoder

from app.engines.speech_library import finish_loading, load_lazily
from tests.conformance.driver import run, same
from tests.conformance.speech import (
    recording,
    work,
)
from tests.conformance.subjects import Subject


def test_a_voice_is_cloned_from_a_recording_whoever_else_speaks(cloner: Subject, tmp_path: Path) -> None:
    low, high = recording(tmp_path / "low", 110), recording(tmp_path / "high", 440)
    fields: dict[str, Any] = {
        "voice": None,
        "reference_rate": 24_000,
        "reference_text": "one two three",
        "prompt_tokens": 500,
        "budget": 10,
    }
    works = [
        work("low", "One river.", "Two hills.", reference=low, **fields),
        work("high", "One river.", "Two hills.", reference=high, **fields),
    ]
    together = run(cloner.open(), *works)
    assert together["low"].pcm() != together["high"].pcm()
    for one in works:
        assert same(run(cloner.open(), one)[one.id], together[one.id])


@pytest.mark.parametrize("samples", [24_000, 100_000, 100_777])
def test_a_recording_listened_to_in_pieces_gives_the_codes_of_the_whole(cloner: Subject, samples: int) -> None:
    model = cast("Any", load_lazily(cloner.directory, {}, cloner.tokenizer.encode))
    finish_loading(model)
    listening = model.speech_tokenizer.encoder_model.encoder
    sound = mx.random.normal((1, 1, samples), key=mx.random.key(samples))
    in_pieces = listening(sound)
    listening.reset_state()
    whole = SeanetEncoder.__call__(listening, sound[..., : samples // listening.hop * listening.hop])
    np.testing.assert_allclose(np.array(in_pieces), np.array(whole), rtol=1e-3, atol=1e-5)  # f32, values up to 10


def test_a_recording_of_another_rate_is_heard_at_its_own_pace(cloner: Subject, tmp_path: Path) -> None:
    slow = recording(tmp_path / "slow", 220, rate=16_000)
    fields: dict[str, Any] = {"voice": None, "reference_text": "one two three", "reference": slow, "budget": 6, "prompt_tokens": 500}
    assert run(cloner.open(), work(reference_rate=16_000, **fields))["w"].pcm()
