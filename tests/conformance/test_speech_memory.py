"""What a voice takes is what is said of it, and nobody speaks without room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from app.engines.faults import RequestTooLarge
from app.engines.ledger import KvAccount, KvLedger
from app.engines.protocols import Engine
from app.engines.speaking import SpeechWork
from app.models.codec import LONGEST_REFERENCE_S
from app.models.footprint import read_footprint
from app.models.spec import Task
from tests.conformance.driver import Run, run
from tests.conformance.speech import (
    active_bytes,
    endless,
    frontend,
    recording,
    work,
)
from tests.conformance.subjects import Subject

OFTEN_LESS = 3  # times what is reserved may be above what is taken


@pytest.mark.parametrize("name", ["qwen3_tts-f32", "qwen3_tts-4bit", "qwen3_tts_base-f32"])
def test_weights_take_what_their_files_say(tiny_model: Callable[[str], Path], name: str) -> None:
    directory = tiny_model(name)
    cpu = mx.default_device().type == mx.DeviceType.cpu
    expected = read_footprint(directory, [Task.TTS], 2048, cpu=cpu).weights_bytes
    before = active_bytes()
    *_, engine = frontend(directory).open()
    assert engine is not None
    # The half of the codec that listens is left out where nobody is cloned.
    assert 0.8 * expected <= active_bytes() - before <= 1.02 * expected
    engine.close()


@pytest.mark.parametrize(("prompt", "budget"), [(30, 60), (30, 300)])
def test_a_request_takes_at_most_what_is_reserved_for_it_and_at_least_a_third(voice: Subject, prompt: int, budget: int) -> None:
    engine = voice.open(change=endless)
    run(engine, work(budget=1))  # the weights of a test's engine are read when they are first used
    check_request(voice, engine, work(budget=budget, prompt_tokens=prompt))


def test_a_request_with_the_longest_recording_takes_at_most_what_is_reserved_for_it(cloner: Subject, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"voice": None, "reference_rate": 24_000, "reference_text": "one two three", "prompt_tokens": 450}
    engine = cloner.open(change=endless)
    run(engine, work(budget=1, reference=recording(tmp_path / "short", 110), **fields))
    longest = recording(tmp_path / "longest", 220, seconds=LONGEST_REFERENCE_S)
    check_request(cloner, engine, work(budget=60, reference=longest, **fields))


def test_requests_enter_as_the_ledger_has_room_and_all_are_answered(voice: Subject) -> None:
    needs = voice.footprint
    one_request = needs.one_request_bytes(100, 8)
    ledger = KvLedger(2 * one_request)
    engine = voice.open(account=KvAccount(ledger, "tiny", 2 * one_request))
    one = Run(engine)
    one.add(*(work(f"w{number}", budget=8) for number in range(5)))
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, ledger.reserved_bytes)

    outcomes = one.finish(look)
    assert all(outcome.error is None for outcome in outcomes.values())
    assert most == 2 * one_request
    assert ledger.reserved_bytes == 0


def test_a_request_that_can_never_fit_is_refused_with_numbers(voice: Subject) -> None:
    account = KvAccount(KvLedger(1000), "tiny", 1000)
    engine = voice.open(account=account)
    engine.add(work())
    (failed,) = engine.step()
    assert isinstance(failed.error, RequestTooLarge)  # type: ignore[union-attr]
    assert not engine.has_work


def check_request(subject: Subject, engine: Engine, spoken: SpeechWork) -> None:
    needs = subject.footprint
    reserved = needs.one_request_bytes(spoken.prompt_tokens, max(spoken.budgets))
    before = active_bytes()
    mx.reset_peak_memory()
    kept = 0

    def look() -> None:
        nonlocal kept
        mx.synchronize()
        kept = max(kept, int(mx.get_active_memory()) - before)

    one = Run(engine)
    one.add(spoken)
    one.finish(look)
    assert reserved / OFTEN_LESS <= kept <= reserved
    assert int(mx.get_peak_memory()) - before <= reserved + needs.activation_bytes
    assert active_bytes() <= before * 1.01
