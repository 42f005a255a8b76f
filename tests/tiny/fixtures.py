"""Fixture over the tiny models, for ``pytest_plugins`` of a conftest.

A model is built when a test first asks for it, in a child process: pytest itself
loads no mlx by this, and so may fork. Models live as long as the test session.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

__all__ = ["tiny_model"]

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a tiny model's name, such as ``qwen3-f32``, to its folder."""
    folder = tmp_path_factory.mktemp("tiny-models")

    def built(name: str) -> Path:
        if not (folder / name / "config.json").is_file():
            subprocess.run([sys.executable, "-m", "tests.tiny", str(folder), name], cwd=_ROOT, check=True, stdout=subprocess.DEVNULL)
        return folder / name

    return built
