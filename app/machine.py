"""What this machine is, and every choice that follows from it.

Standard library alone and never mlx, so that the Makefile, the command line
and the API may all ask. ``python -m app.machine extra`` names the extra of
pyproject.toml that fits; ``python -m app.machine blas`` builds the OpenBLAS
shim (see :mod:`app.blas`).
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Machine", "auto_profile", "detect", "starter_dtype"]

_GIB = 1024**3
# A card sold as 16 GB reports a little less; a 24 GB Mac reports exactly 24 GiB.
_MEDIUM_BYTES = 15 * _GIB
_LARGE_BYTES = 25 * _GIB


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts that choices depend on."""

    ram_bytes: int
    apple_silicon: bool
    nvidia: bool
    vram_bytes: int | None  # of the first NVIDIA card; None without one, or where the driver does not say

    @property
    def accelerated(self) -> bool:
        """Whether MLX runs on a GPU here."""
        return self.apple_silicon or self.nvidia


@cache
def detect() -> Machine:
    """Look at this machine, once per process."""
    nvidia = has_nvidia()
    return Machine(
        ram_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        apple_silicon=sys.platform == "darwin" and platform.machine() == "arm64",
        nvidia=nvidia,
        vram_bytes=nvidia_memory() if nvidia else None,
    )


def auto_profile(machine: Machine) -> str:
    """Return the profile that fits: by RAM on Apple Silicon, by VRAM on NVIDIA, ``starter`` elsewhere."""
    memory = machine.ram_bytes if machine.apple_silicon else (machine.vram_bytes or 0)
    if memory >= _LARGE_BYTES:
        return "32gb"
    return "16gb" if memory >= _MEDIUM_BYTES else "starter"


def starter_dtype(machine: Machine) -> str:
    """Return the float type to store starter models in: a CPU's matrix products are fast in float32 alone."""
    return "bfloat16" if machine.accelerated else "float32"


def has_nvidia() -> bool:
    """Return whether an NVIDIA driver with a card is here and not hidden from this process."""
    if sys.platform != "linux" or os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}:
        return False
    cards = Path("/proc/driver/nvidia/gpus")
    return (cards.is_dir() and any(cards.iterdir())) or bool(nvidia_memory())


@cache
def nvidia_memory() -> int | None:
    """Return the first card's memory in bytes as ``nvidia-smi`` reports it, None where it does not."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    first = answer.split("\n", 1)[0].strip()
    return int(first) * 1024**2 if first.isdigit() else None
