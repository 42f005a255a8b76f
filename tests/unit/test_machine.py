"""Choices follow from the machine's facts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.machine import Machine, auto_profile, detect, ensure_blas, starter_dtype, worker_environment
from app.settings import load_settings

GIB = 1024**3


def _mac(ram_gib: float) -> Machine:
    return Machine(ram_bytes=int(ram_gib * GIB), cores=8, macos=True, apple_silicon=True, nvidia=False, vram_bytes=None)


def _linux(ram_gib: float, vram_gib: float | None = None) -> Machine:
    vram = None if vram_gib is None else int(vram_gib * GIB)
    return Machine(ram_bytes=int(ram_gib * GIB), cores=8, macos=False, apple_silicon=False, nvidia=vram_gib is not None, vram_bytes=vram)


@pytest.mark.parametrize(
    ("machine", "profile"),
    [
        (_mac(8), "starter"),
        (_mac(16), "16gb"),
        (_mac(24), "16gb"),
        (_mac(32), "32gb"),
        (_mac(128), "32gb"),
        (_linux(512), "starter"),
        (_linux(64, 11.9), "starter"),
        (_linux(64, 15.99), "16gb"),
        (_linux(64, 23.99), "16gb"),
        (_linux(64, 79.6), "32gb"),
    ],
)
def test_the_profile_goes_by_ram_on_a_mac_by_vram_on_nvidia_and_is_starter_elsewhere(machine: Machine, profile: str) -> None:
    assert auto_profile(machine) == profile


def test_starter_models_are_float32_on_a_cpu_and_bfloat16_on_a_gpu() -> None:
    assert (starter_dtype(_linux(16)), starter_dtype(_linux(16, 24)), starter_dtype(_mac(16))) == ("float32", "bfloat16", "bfloat16")


def test_a_worker_gets_the_home_of_its_settings_and_leaves_the_users_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    environment = worker_environment(load_settings(home=tmp_path))
    assert environment["MLX_LOCAL_HOME"] == str(tmp_path)
    assert "TOKENIZERS_PARALLELISM" not in environment


_MULTIPLY = """
import pathlib, mlx.core as mx, numpy as np
a = np.random.default_rng(0).normal(size=(65, 33)).astype(np.float32)
b = np.random.default_rng(1).normal(size=(33, 17)).astype(np.float32)
print(float(np.abs(np.array(mx.array(a) @ mx.array(b)) - a @ b).max()))
c = (a[:, :2] + 1j * a[:, 2:4]).astype(np.complex64)
print(float(np.abs(np.array(mx.array(c) @ mx.array(c.T)) - c @ c.T).max()))
maps = pathlib.Path("/proc/self/maps")
print(maps.exists() and "libscipy_openblas.so" in maps.read_text())
"""


def test_a_worker_multiplies_with_openblas_where_there_is_no_gpu(tmp_path: Path) -> None:
    machine = detect()
    assert ensure_blas(machine) is None
    environment = os.environ | worker_environment(load_settings(home=tmp_path))
    done = subprocess.run([sys.executable, "-c", _MULTIPLY], env=environment, capture_output=True, text=True, check=True)
    real, complex_, openblas = done.stdout.split()
    assert float(real) < 1e-4
    assert float(complex_) < 1e-4
    assert openblas == str(sys.platform == "linux" and not machine.accelerated)
    assert done.stderr == ""
