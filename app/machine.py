"""What this machine is, and every choice that follows from it.

Standard library alone and never mlx, so that the Makefile, the command line
and the API may all ask. As a program: ``python -m app.machine extra`` names the
extra of pyproject.toml that fits, and ``python -m app.machine blas`` builds the
OpenBLAS shim where that helps.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from app.blas import BlasUnavailable, build_shim, built_shim

if TYPE_CHECKING:  # the Makefile asks before pydantic is installed
    from app.settings import Settings

__all__ = [
    "Machine",
    "auto_profile",
    "desktop_notifier",
    "detect",
    "ensure_blas",
    "machine_id",
    "sound_player",
    "starter_dtype",
    "wakefulness",
    "worker_environment",
    "writers_of",
]

_GIB = 1024**3
# A card sold as 16 GB reports a little less; a 24 GB Mac reports exactly 24 GiB.
_MEDIUM_BYTES = 15 * _GIB
_LARGE_BYTES = 25 * _GIB


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts that choices depend on."""

    ram_bytes: int
    cores: int  # that this process may use
    macos: bool
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
    nvidia = _has_nvidia()
    return Machine(
        ram_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        macos=sys.platform == "darwin",
        apple_silicon=sys.platform == "darwin" and platform.machine() == "arm64",
        nvidia=nvidia,
        vram_bytes=_nvidia_memory() if nvidia else None,
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


def worker_environment(settings: Settings) -> dict[str, str]:
    """Return what the process that starts a worker adds to its environment: a preload works from the start or not at all.

    The worker gets the home of *settings*; for the rest, what the user's own environment sets stays as it is.
    """
    machine = detect()
    wanted = {
        # Tokenizers warn, and may deadlock, when a process that used their threads forks.
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }
    if sys.platform == "linux":
        # glibc gives each thread an arena that keeps what it frees. A worker has hundreds of threads, each of which may tokenize.
        wanted["MALLOC_ARENA_MAX"] = "4"
    if not machine.accelerated:
        # OpenBLAS's threads spin while they wait. With one for every core, a machine that has anything else to do (the API
        # and Redis are enough) decoded 3 times slower than with one fewer; an idle one gained 15 %.
        wanted["OPENBLAS_NUM_THREADS"] = str(max(1, machine.cores - 1))
    chosen = {name: value for name, value in wanted.items() if name not in os.environ}
    chosen["MLX_LOCAL_HOME"] = str(settings.home)
    shim = None if machine.accelerated else built_shim()
    if shim is not None:
        chosen["LD_PRELOAD"] = ":".join(part for part in (str(shim), os.environ.get("LD_PRELOAD")) if part)
    return chosen


def ensure_blas(machine: Machine) -> str | None:
    """Build the OpenBLAS shim where it helps: on Linux without a GPU.

    Returns:
        None when there is nothing to say, else one line for the user: why the CPU will be slow.
    """
    if machine.accelerated or machine.macos:
        return None
    try:
        build_shim()
    except BlasUnavailable as reason:
        return str(reason)
    return None


def sound_player() -> list[str] | None:
    """Return the command that plays the wav file that is put after it; None where there is none. macOS has afplay."""
    players = (["afplay"], ["pw-play"], ["paplay"], ["aplay", "-q"], ["ffplay", "-nodisp", "-autoexit", "-loglevel", "error"])
    return next((player for player in players if shutil.which(player[0])), None)


def desktop_notifier() -> list[str] | None:
    """Return the command that shows a notification, a text and a title put after it; None where there is none. macOS has osascript."""
    if sys.platform != "darwin" or not shutil.which("osascript"):
        return None
    script = ("on run argv", "display notification (item 1 of argv) with title (item 2 of argv)", "end run")
    return ["osascript", *(word for line in script for word in ("-e", line))]


def writers_of(files: Collection[Path]) -> dict[Path, int]:
    """Return which of *files* a process holds open for writing, with its id. Linux shows this of one's own processes; elsewhere: none."""
    if sys.platform != "linux" or not files:
        return {}
    wanted = {os.path.realpath(file): file for file in files}
    found: dict[Path, int] = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # another user's, or ended meanwhile
            for handle in (process / "fd").iterdir():
                file = _open_file(handle, wanted)
                if file is not None and _writes(process / "fdinfo" / handle.name):
                    found[file] = int(process.name)
    return found


def _open_file(handle: Path, wanted: Mapping[str, Path]) -> Path | None:
    try:
        return wanted.get(str(handle.readlink()))
    except OSError:  # closed meanwhile
        return None


def _writes(fdinfo: Path) -> bool:
    try:
        facts = fdinfo.read_text()
    except OSError:  # closed meanwhile; others may be open
        return False
    flags = next((line.split()[1] for line in facts.splitlines() if line.startswith("flags:")), "0")
    return (int(flags, 8) & os.O_ACCMODE) != os.O_RDONLY


def wakefulness() -> list[str] | None:
    """Return a command that keeps this machine from idle sleep until it or this process ends; None where there is none. macOS has one."""
    return ["caffeinate", "-i", "-w", str(os.getpid())] if shutil.which("caffeinate") else None


def machine_id() -> str:
    """Return what tells this machine from others, from one start to the next; empty where the system has no such word."""
    if sys.platform == "darwin":
        identity, patience = (ctypes.c_ubyte * 16)(), (ctypes.c_long * 2)(5, 0)  # a uuid_t, and a timespec of 5 s
        return bytes(identity).hex() if ctypes.CDLL(None).gethostuuid(identity, patience) == 0 else ""
    with contextlib.suppress(OSError):
        return Path("/etc/machine-id").read_text().strip()
    return ""


def _has_nvidia() -> bool:
    """Return whether an NVIDIA driver with a card is here and not hidden from this process."""
    if sys.platform != "linux" or os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}:
        return False
    cards = Path("/proc/driver/nvidia/gpus")
    return (cards.is_dir() and any(cards.iterdir())) or bool(_nvidia_memory())


@cache
def _nvidia_memory() -> int | None:
    """Return the first card's memory in bytes as ``nvidia-smi`` reports it, None where it does not."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    first = answer.split("\n", 1)[0].strip()
    return int(first) * 1024**2 if first.isdigit() else None


def main(arguments: list[str]) -> int:
    """Answer the Makefile."""
    machine = detect()
    if arguments == ["extra"]:
        sys.stdout.write("" if machine.macos else "cuda" if machine.nvidia else "cpu")
        return 0
    if arguments == ["blas"]:
        if (problem := ensure_blas(machine)) is not None:
            sys.stderr.write(f"note: {problem}\n")
        return 0
    if arguments == ["preload"]:
        shim = None if machine.accelerated else built_shim()
        sys.stdout.write(str(shim or ""))
        return 0
    sys.stderr.write("usage: python -m app.machine extra|blas|preload\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
