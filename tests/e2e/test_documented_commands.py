"""The commands of our pages, each block run as it stands there, before a stack with the starter models and a hub that is out of reach.

So what names a larger model is told that it cannot be downloaded now, and what to look at; anything else is answered.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.audio.pcm import RATE_HZ
from tests.documented import COMMANDED, commands_of
from tests.e2e.conftest import Stack
from tests.recordings import record
from tests.spoken import SENTENCES, spoken

_LARGER = re.compile(r"qwen|paddleocr|/v1/ocr", re.IGNORECASE)
_SAYS_WHAT_TO_DO = {"hub_unreachable": "HF_ENDPOINT", "model_not_found": "mlx-local models pull"}
_BLOCKS = [pytest.param(block, id=f"{Path(page).stem}-{number}") for page in COMMANDED for number, block in enumerate(commands_of(page), 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages name."""
    made = tmp_path_factory.mktemp("reader")
    record(made / "audio.wav", spoken(SENTENCES[:1]).astype(np.float32) / np.float32(32768), rate_hz=RATE_HZ)
    for name in ("photo.jpg", "document.jpg"):
        Image.new("RGB", (64, 48), "white").save(made / name)
    return made


@pytest.mark.parametrize("block", _BLOCKS)
def test_a_block_of_commands_does_what_its_page_says(stack: Stack, folder: Path, block: str) -> None:
    script = block.replace(":8787", f":{stack.port}").replace(":8788", f":{stack.audio_port}")
    environment = stack.environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    refusals = list(_errors(done.stdout))
    assert bool(refusals) == bool(_LARGER.search(script) and "-o " not in script), done.stdout
    assert all(_SAYS_WHAT_TO_DO[error["code"]] in error["message"] for error in refusals)


def _errors(text: str) -> Iterator[dict[str, Any]]:
    """Yield the errors among the JSON objects of *text*."""
    decoder = json.JSONDecoder()
    for start in (match.start() for match in re.finditer(r'\{"error"', text)):
        yield decoder.raw_decode(text, start)[0]["error"]
