"""Checks of the machine: Python, MLX, memory, compiler, BLAS. They need no settings that are right."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys

from app import blas, machine
from app.cli.finding import Finding, gigabytes

__all__ = ["check_blas", "check_compiler", "check_memory", "check_mlx", "check_python", "check_video_memory"]

_OLDEST_PYTHON = (3, 11)
_MLX_TIMEOUT_S = 60.0
_LITTLE_MEMORY = 1_000_000_000
# Computes something: a backend that imports may still lack its driver.
_ASK_MLX = """
import json
import mlx.core as mx
total = (mx.ones((8, 8)) @ mx.ones((8, 8))).sum().item()
facts = {"version": mx.__version__, "device": str(mx.default_device()), "name": mx.device_info().get("device_name"), "sum": total}
print(json.dumps(facts))
"""
_SUM = 512.0


def check_python() -> Finding:
    """Check the version of Python, and that it is made for this processor."""
    found = f"{platform.python_version()} for {platform.machine()} on {platform.system()} ({sys.executable})"
    if sys.version_info < _OLDEST_PYTHON:
        return Finding.failed("python", found, "Install Python 3.11 or later, remove .venv and run `make setup`.")
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        return Finding.failed(
            "python", found, "This Python runs translated, without the GPU: install an arm64 one, remove .venv, `make setup`."
        )
    return Finding.ok("python", found)


def check_mlx() -> Finding:
    """Let a child process compute with MLX and say on which device; MLX is not imported here."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-P", "-c", _ASK_MLX]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=_MLX_TIMEOUT_S, env=environment, check=False)
    except subprocess.TimeoutExpired:
        mend = "See whether another process holds the GPU; restart the machine if none does."
        return Finding.failed("mlx", f"It computed nothing in {_MLX_TIMEOUT_S:.0f} s.", mend)
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        return Finding.failed("mlx", f"It does not work (exit status {child.returncode}): {last[:300]}", "Run `make setup` again.")
    facts = json.loads(child.stdout.strip().splitlines()[-1])
    found = f"MLX {facts['version']} on {facts['device']}, {facts['name']}"
    if facts["sum"] != _SUM:
        return Finding.failed("mlx", f"{found}: a small matrix product is wrong ({facts['sum']}).", "Run `make setup` again.")
    if machine.detect().accelerated and "gpu" not in facts["device"]:
        mend = "Remove .venv and run `make setup`: the MLX there is made for the CPU alone."
        return Finding.warning("mlx", f"{found}, though a GPU is here", mend)
    return Finding.ok("mlx", found)


def check_memory() -> Finding:
    """Check how much of the machine's memory is free."""
    import psutil

    now = psutil.virtual_memory()
    found = f"{gigabytes(now.available)} of {gigabytes(now.total)} available"
    if now.available < _LITTLE_MEMORY:
        return Finding.warning("memory", found, "Close something large, or choose a smaller model (MLX_LOCAL_PROFILE).")
    return Finding.ok("memory", found)


def check_video_memory() -> Finding | None:
    """Check that an NVIDIA card says how much memory it has; nothing where there is no card."""
    here = machine.detect()
    if not here.nvidia:
        return None
    if here.vram_bytes is None:
        mend = "Install the driver's `nvidia-smi`, or choose with MLX_LOCAL_PROFILE."
        return Finding.warning("video memory", "An NVIDIA card is here, but nvidia-smi does not say its memory.", mend)
    return Finding.ok("video memory", gigabytes(here.vram_bytes))


def check_compiler() -> Finding | None:
    """Check for the C and C++ compilers that MLX's CPU backend, and our shim, need on Linux; elsewhere nothing."""
    here = machine.detect()
    if here.macos or here.accelerated:
        return None
    missing = [name for name in ("gcc", "g++") if shutil.which(name) is None]
    if missing:
        return Finding.warning("compiler", f"not found: {', '.join(missing)}", "Install gcc and g++, then run `make setup` again.")
    return Finding.ok("compiler", f"{shutil.which('gcc')}, {shutil.which('g++')}")


def check_blas() -> Finding | None:
    """Check for the OpenBLAS shim where it makes the CPU fast: on Linux without a GPU."""
    here = machine.detect()
    if here.macos or here.accelerated:
        return None
    shim = blas.built_shim()
    if shim is None:
        return Finding.warning(
            "blas", "The OpenBLAS shim is not built, so models on the CPU are many times slower.", "Run `make setup` again."
        )
    return Finding.ok("blas", str(shim))
