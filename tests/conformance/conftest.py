"""Fixtures of the conformance suite: real engines over tiny models, on the thread that runs the tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Compiling a kernel takes longer than a whole test, and each tiny model has shapes of its own.
os.environ.setdefault("MLX_DISABLE_COMPILE", "1")
# On NVIDIA, f32 products are shortened to TF32 by default, and batches then differ in the fourth digit.
os.environ.setdefault("MLX_ENABLE_TF32", "0")

from tests.conformance.subjects import EMBEDDING, RERANK, SPEECH, TEXT, Subject


@pytest.fixture(scope="session")
def subject_named(tiny_model: Callable[[str], Path]) -> Callable[[str], Subject]:
    """Return a function from a tiny model's name to the engine under test over it."""
    known: dict[str, Subject] = {}

    def named(name: str) -> Subject:
        if name not in known:
            known[name] = Subject(name, tiny_model(name))
        return known[name]

    return named


@pytest.fixture(params=[*TEXT, *EMBEDDING, *RERANK, *SPEECH])
def subject(request: pytest.FixtureRequest, subject_named: Callable[[str], Subject]) -> Iterator[Subject]:
    """Every engine, over every tiny model that it serves."""
    subject = subject_named(request.param)
    yield subject
    subject.close_all()


@pytest.fixture(params=TEXT)
def text(request: pytest.FixtureRequest, subject_named: Callable[[str], Subject]) -> Iterator[Subject]:
    """The text engine, over every tiny model that it serves."""
    subject = subject_named(request.param)
    yield subject
    subject.close_all()


@pytest.fixture(params=EMBEDDING)
def embedding(request: pytest.FixtureRequest, subject_named: Callable[[str], Subject]) -> Iterator[Subject]:
    """The embedding engine, over every tiny model that it serves."""
    subject = subject_named(request.param)
    yield subject
    subject.close_all()


@pytest.fixture
def voice(tiny_model: Callable[[str], Path]) -> Iterator[Subject]:
    """The engine that speaks, with named voices."""
    subject = Subject("qwen3_tts-f32", tiny_model("qwen3_tts-f32"))
    yield subject
    subject.close_all()


@pytest.fixture
def cloner(tiny_model: Callable[[str], Path]) -> Iterator[Subject]:
    """The engine that speaks, with voices cloned from recordings."""
    subject = Subject("qwen3_tts_base-f32", tiny_model("qwen3_tts_base-f32"))
    yield subject
    subject.close_all()
