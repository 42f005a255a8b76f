"""Somebody who reads our pages and does what they say, as it stands there, with another address."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.audio.pcm import RATE_HZ
from tests.recordings import record
from tests.spoken import SENTENCES, spoken

__all__ = ["Reader", "lay_out"]

_LARGER = re.compile(r"qwen|paddleocr|/v1/ocr", re.IGNORECASE)
_SAYS_WHAT_TO_DO = {"hub_unreachable": "HF_ENDPOINT", "model_not_found": "mlx-local models pull"}


def lay_out(folder: Path) -> Path:
    """Put the files that the pages name into *folder*."""
    record(folder / "audio.wav", spoken(SENTENCES[:1]).astype(np.float32) / np.float32(32768), rate_hz=RATE_HZ)
    for name in ("photo.jpg", "document.jpg"):
        Image.new("RGB", (64, 48), "white").save(folder / name)
    return folder


@dataclass(frozen=True, slots=True)
class Reader:
    """Sits in *folder*, before a stack at these ports that has the starter models and finds no hub."""

    folder: Path
    environment: Mapping[str, str]
    port: int
    audio_port: int

    def does(self, block: str) -> str:
        """Run a block of commands and return what it prints.

        What names a larger model must be told what to do about it; anything else must be answered.
        """
        script = block.replace(":8787", f":{self.port}").replace(":8788", f":{self.audio_port}")
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        refusals = list(_errors(done.stdout))
        assert bool(refusals) == bool(_LARGER.search(script) and "-o " not in script), done.stdout
        assert all(_SAYS_WHAT_TO_DO[error["code"]] in error["message"] for error in refusals)
        return done.stdout


def _errors(text: str) -> Iterator[dict[str, Any]]:
    """Yield the errors among the JSON objects of *text*."""
    for match in re.finditer(r'\{"error"', text):
        yield json.JSONDecoder().raw_decode(text, match.start())[0]["error"]
