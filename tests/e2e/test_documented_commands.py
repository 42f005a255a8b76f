"""The commands of our pages, each block run as it stands there, before a stack with the starter models and a hub that is out of reach."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.documented import COMMANDED, commands_of, program_of
from tests.e2e.conftest import Stack
from tests.reader import Reader, lay_out

_LARGER_MODEL = re.compile(r"mlx-community/[\w.-]+")
_BLOCKS = [pytest.param(block, id=f"{Path(page).stem}-{number}") for page in COMMANDED for number, block in enumerate(commands_of(page), 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages name."""
    return lay_out(tmp_path_factory.mktemp("reader"))


@pytest.mark.parametrize("block", _BLOCKS)
def test_a_block_of_commands_does_what_its_page_says(stack: Stack, folder: Path, block: str) -> None:
    environment = stack.environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    Reader(folder, environment, stack.port, stack.audio_port).does(block)


def test_the_lines_that_use_mlx_vlm_by_itself_run_in_our_environment(folder: Path, tiny_model: Callable[[str], Path]) -> None:
    command = next(block for block in commands_of("docs/recipes.md", "console") if "mlx_vlm.generate" in block)
    script = _LARGER_MODEL.sub(str(tiny_model("paddleocr_vl-f32")), command.replace(".venv/bin/python", sys.executable))
    subprocess.run(["bash", "-euc", script], cwd=folder, check=True)

    program = _LARGER_MODEL.sub(str(tiny_model("qwen3_vl-f32")), program_of("recipes"))
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
