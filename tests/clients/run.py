"""Runs the scenario through one of OpenAI's clients, in a process of its own, and returns what that client was told.

Node and its client serve the tests alone. The client comes from npm once, as
``package-lock.json`` pins it, and is kept beside the starter models. Without
node a test is skipped, and fails in continuous integration.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.starter import cache_folder

__all__ = ["CLIENTS", "SCENARIO", "run_scenario"]

CLIENTS = ("plain", "asyncio", "node")
"""OpenAI's Python client in its two styles, and that for Node."""

SCENARIO: list[dict[str, Any]] = json.loads(Path(__file__).with_name("scenario.json").read_text("utf-8"))

_HERE = Path(__file__).parent
_PATIENCE_S = 240


def run_scenario(client: str, base_url: str) -> dict[str, Any]:
    """Return step -> what *client* was told there."""
    scenario = str(_HERE / "scenario.json")
    if client != "node":
        return json.loads(_output([sys.executable, str(_HERE / "python_client.py"), client, base_url, scenario]))  # type: ignore[no-any-return]
    with tempfile.TemporaryDirectory() as folder:
        # Node looks for packages beside the program, and the program's own folder shall stay clean.
        program = shutil.copy(_HERE / "node_client.mjs", folder)
        Path(folder, "node_modules").symlink_to(_installed_packages())
        return json.loads(_output(["node", program, base_url, scenario]))  # type: ignore[no-any-return]


def _installed_packages() -> Path:
    """Return the folder of the packages that the lock file pins, installed if they are not yet."""
    _require_node()
    lock = _HERE / "package-lock.json"
    installed = cache_folder() / f"node-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    if not installed.exists():
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder(), ignore_cleanup_errors=True) as folder:
            for file in (lock, lock.with_name("package.json")):
                shutil.copy(file, folder)
            _output(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"], folder)
            Path(folder).rename(installed)  # whole or not at all
    return installed / "node_modules"


def _require_node() -> None:
    if shutil.which("node") and shutil.which("npm"):
        return
    reason = "node and npm are not here (Debian: apt-get install nodejs npm)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _output(command: list[str], folder: str | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stderr or done.stdout}"
    return done.stdout
