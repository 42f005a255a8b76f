"""Agent tools from the package index, in a virtual environment of their own that is kept beside the starter models.

They are installed once for each ``requirements.txt``. Nothing else is fetched:
where a tool would ask the network for something, it is told not to.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.starter import cache_folder

__all__ = ["AGENT_SETTINGS", "agent_tools"]

_REQUIREMENTS = Path(__file__).with_name("requirements.txt")

AGENT_SETTINGS = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches what models of others cost
    "MSWEA_CONFIGURED": "true",  # else it asks for a model and a key
    "MSWEA_COST_TRACKING": "ignore_errors",  # nobody knows what ours cost
    "NO_COLOR": "1",
    "OPENAI_API_KEY": "none",
}


def agent_tools() -> Path:
    """Return the folder of the tools' programs, installed if they are not yet."""
    folder = cache_folder() / f"agents-{hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]}"
    done = folder / "installed"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        # Programs name their folder, so it cannot be moved into place when it is whole: a file says that it is.
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
        _run([sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-deps", "-r", str(_REQUIREMENTS)])
        done.touch()
    return folder / "bin"


def _run(command: list[str]) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "LD_PRELOAD"}}
    ended = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{command}: {ended.stderr or ended.stdout}"
