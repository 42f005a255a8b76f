"""The engine that speaks: whole sounds without seams, the same ones every time, in turns."""

from __future__ import annotations

import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from app.engines.edges import FADE_S
from app.engines.protocols import Event, Sound
from app.errors import EngineFailed
from app.scheduler.breadcrumb import Breadcrumb
from app.scheduler.gpu import GpuThread
from tests.conformance.driver import Outcome, Run, run, same
from tests.conformance.speech import (
    TINY_RATE,
    TOKEN_SAMPLES,
    Listening,
    Mute,
    deafening,
    endless,
    samples_of,
    silent,
    work,
)
from tests.conformance.subjects import Subject


def test_what_streams_is_what_the_same_codes_give_at_once_and_fades_at_its_end(voice: Subject) -> None:
    listening = Listening()
    outcome = run(voice.open(change=listening), work(budget=60))["w"]
    heard, whole = samples_of(outcome.pcm()), listening.at_once()
    fade = round(TINY_RATE * FADE_S)
    assert len(heard) == len(whole) > 2 * fade
    np.testing.assert_allclose(heard[:-fade], whole[:-fade], atol=1e-4)
    np.testing.assert_allclose(heard[-fade:], whole[-fade:] * np.linspace(1, 0, fade), atol=1e-4)
    assert outcome.spoken.samples == len(heard)
    assert outcome.spoken.tokens == len(heard) // TOKEN_SAMPLES


def test_two_that_take_turns_leave_no_trace_in_each_other_s_sound(voice: Subject) -> None:
    listening = Listening()
    alone = run(voice.open(), work("a", budget=40))["a"]
    one = Run(voice.open(change=listening))
    one.add(work("a", budget=40), work("b", "Seven wizards sing.", budget=40, voice="ryan", seed=9))
    both = one.finish()
    assert same(both["a"], alone)
    named = [name for (name,) in one.steps]
    assert named[:8] == ["a", "b"] * 4


def test_sound_goes_out_long_before_the_sentence_ends(voice: Subject) -> None:
    one = Run(voice.open())
    one.add(work(budget=200, seed=4))
    while not any(isinstance(event, Sound) for event in one.outcomes["w"].events):
        one.step()
    first = next(event for event in one.outcomes["w"].events if isinstance(event, Sound))
    assert not first.last
    assert first.rate == TINY_RATE
    assert len(first.pcm) // 2 <= 8 * TOKEN_SAMPLES


def test_every_sentence_ends_with_one_last_piece_and_comes_in_order(voice: Subject) -> None:
    outcome = run(voice.open(), work("w", "One river.", "Two hills.", "Three towns.", budget=8))["w"]
    pieces = [event for event in outcome.events if isinstance(event, Sound)]
    assert [piece.sentence for piece in pieces if piece.last] == [0, 1, 2]
    assert [piece.sentence for piece in pieces] == sorted(piece.sentence for piece in pieces)
    assert all(piece.pcm for piece in pieces)


def test_an_attempt_that_begins_in_the_middle_makes_the_same_sound(voice: Subject) -> None:
    sentences = ("One river.", "Two hills.", "Three towns.")
    whole = run(voice.open(), work("w", *sentences, budget=12))["w"]
    for first in range(4):
        rest = run(voice.open(), work("w", *sentences, budget=12, first=first))["w"]
        assert rest.pcm() == b"".join(whole.pcm(sentence) for sentence in range(first, 3))
        assert rest.spoken.samples == len(rest.pcm()) // 2


def test_the_seed_the_voice_the_language_and_the_instructions_each_change_the_sound(voice: Subject) -> None:
    engine = voice.open()
    changes: list[dict[str, Any]] = [{}, {"seed": 2}, {"voice": "ryan"}, {"language": "german"}, {"instructions": "Very slowly."}]
    sounds = [run(engine, work(budget=10, **change))["w"].pcm() for change in changes]
    assert len(set(sounds)) == len(changes)


def test_the_same_sentence_twice_is_drawn_twice(voice: Subject) -> None:
    outcome = run(voice.open(), work("w", "One river.", "One river.", budget=10))["w"]
    assert outcome.pcm(0) != outcome.pcm(1)


def test_randomness_of_the_thread_goes_on_as_if_nobody_had_spoken(voice: Subject) -> None:
    engine = voice.open()
    mx.random.seed(7)
    expected = [mx.random.uniform(shape=(3,)).tolist() for _ in range(6)]
    mx.random.seed(7)
    one = Run(engine)
    one.add(work(budget=6))
    drawn = []
    for _ in range(6):
        if engine.has_work:
            one.step()
        drawn.append(mx.random.uniform(shape=(3,)).tolist())
    assert drawn == expected


def test_a_sentence_without_an_end_is_faded_out_at_its_budget_and_named(voice: Subject) -> None:
    outcome = run(voice.open(change=endless), work("w", "One river.", "Two hills.", budget=25))["w"]
    assert outcome.spoken.cut == (0, 1)
    assert outcome.spoken.tokens == 50
    for sentence in (0, 1):
        heard = samples_of(outcome.pcm(sentence))
        assert len(heard) == 25 * TOKEN_SAMPLES
        assert heard[-1] == 0


def test_a_sentence_that_ends_by_itself_is_not_named(voice: Subject) -> None:
    ends = [run(voice.open(), work(budget=400, seed=seed, temperature=1.5))["w"].spoken for seed in range(2)]
    assert any(end.tokens < 400 and end.cut == () for end in ends)


def test_silence_fails_and_nothing_of_it_goes_out(voice: Subject) -> None:
    outcome = run(voice.open(change=silent), work("w", "One river.", budget=6))["w"]
    assert isinstance(outcome.error, EngineFailed)
    assert "silence" in outcome.error.message
    assert outcome.pcm() == b""


def test_a_sentence_that_comes_out_silent_is_said_again_with_other_draws(voice: Subject) -> None:
    outcome = run(voice.open(change=Mute(tokens=6)), work("w", "One river.", "Two hills.", budget=6))["w"]
    expected = run(voice.open(), work("w", "One river.", "Two hills.", budget=6))["w"]
    assert outcome.spoken.tokens == expected.spoken.tokens + 6
    assert outcome.pcm(0) not in {b"", expected.pcm(0)}
    assert outcome.pcm(1) == expected.pcm(1)


def test_a_codec_that_is_damaged_fails_and_no_nonsense_goes_out(voice: Subject) -> None:
    outcome = run(voice.open(change=deafening), work("w", "One river.", budget=6))["w"]
    assert isinstance(outcome.error, EngineFailed)
    assert "not finite" in outcome.error.message
    assert outcome.pcm() == b""


def test_speech_beside_a_chat_on_the_gpu_thread_changes_neither(voice: Subject, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    chat = Subject("qwen3-f32", tiny_model("qwen3-f32"))
    alone = {**run(voice.open(), work("speech", budget=20)), **run(chat.open(), chat.work(1, size=30))}
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    gpu = GpuThread(events.put, lambda _: None, Breadcrumb(tmp_path / "crumb"))
    gpu.start()
    try:
        for model, subject in (("voice", voice), ("chat", chat)):
            gpu.load(model, subject.frontend(), model).result()
        gpu.add("chat", chat.work(1, size=30))
        gpu.add("voice", work("speech", budget=20))
        together = {name: Outcome() for name in alone}
        while any(outcome.end is None for outcome in together.values()):
            event = events.get(timeout=60)
            together[event.id].events.append(event)
    finally:
        gpu.stop()
        chat.close_all()
    for name, outcome in alone.items():
        assert same(together[name], outcome)
