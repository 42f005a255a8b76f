"""A newcomer's hour: a fresh clone, ``make up``, every request of the skill, a recording dropped, a look around, and the end of it.

In a home of its own, with nothing set but the ports: what it leaves anywhere else would be seen there. The hub is out of reach.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.documented import commands_of
from tests.e2e.conftest import free_ports
from tests.reader import Reader, lay_out

_ROOT = Path(__file__).resolve().parents[2]
_SET_UP_S = 1800.0
_PATIENCE_S = 240.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def reader(private_folder: Path) -> Iterator[Reader]:
    """Clone, start, and wait until it is ready; at the end nothing may be left running."""
    clone = private_folder / "mlx-local-inference"
    subprocess.run(["git", "clone", "--quiet", str(_ROOT), str(clone)], check=True)
    port, audio_port = free_ports(2)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLX_LOCAL_", "HF_"))}
    environment = inherited | {
        "HOME": str(private_folder),
        "PATH": f"{clone / '.venv' / 'bin'}:{os.environ['PATH']}",
        "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(Path.home() / ".cache" / "pip")),  # else 1.5 GB once more
        "HF_ENDPOINT": "http://127.0.0.1:9",  # nobody listens at that port
        "MLX_LOCAL_PORT": str(port),
        "MLX_LOCAL_AUDIO_PORT": str(audio_port),
        "MLX_LOCAL_MIN_FREE_DISK": "0",
    }
    for name in ("LD_PRELOAD", "OPENBLAS_NUM_THREADS", "PYTHONPATH", "VIRTUAL_ENV"):  # of whoever runs the tests
        environment.pop(name, None)
    told = private_folder / "up.out"
    with told.open("wb") as out:
        up = subprocess.Popen(["make", "up"], cwd=clone, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        _wait_until_ready(up, f"http://127.0.0.1:{port}/ready", told)
        yield Reader(lay_out(private_folder), environment, port, audio_port)
        subprocess.run(["mlx-local", "stop"], env=environment, check=True)
        assert up.wait(90) == 0, told.read_text()
    finally:
        subprocess.run([str(clone / ".venv/bin/mlx-local"), "stop"], env=environment, check=False)
        up.wait(90)


def test_from_a_fresh_clone_to_transcripts_and_back_to_nothing(reader: Reader) -> None:
    for block in commands_of("skills/mlx-local-inference/SKILL.md"):
        reader.does(block)

    transcribe = reader.folder / "transcribe"
    (reader.folder / "audio.wav").rename(transcribe / "walk.wav")
    give_up = time.monotonic() + _PATIENCE_S
    while not (transcribe / "done" / "walk.wav").exists():
        assert time.monotonic() < give_up, reader.does("mlx-local status")
        time.sleep(0.2)
    assert "river" in (transcribe / "walk_raw.md").read_text()
    assert (transcribe / "walk_corrected.md").exists()

    while json.loads(reader.does("mlx-local status --json"))["recordings"]["files"]:  # it is told once a second
        assert time.monotonic() < give_up, reader.does("mlx-local status")
    assert "worker" in reader.does("mlx-local logs")
    assert "transcript" in reader.does("mlx-local jobs list")
    assert json.loads(reader.does("mlx-local doctor --json"))["counts"]["failed"] == 0
    assert not {path.name for path in reader.folder.iterdir()} & {".config", ".local"}, "something was left where it does not belong"


def _wait_until_ready(up: subprocess.Popen[bytes], address: str, told: Path) -> None:
    give_up = time.monotonic() + _SET_UP_S
    while time.monotonic() < give_up:
        assert up.poll() is None, told.read_text()
        try:
            if httpx.get(address, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    pytest.fail(told.read_text())
