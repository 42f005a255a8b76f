"""How many bytes models may use on this machine, and whether other programs leave it short of memory.

Choices are pure functions of facts; :func:`ask_device` alone touches mlx, and so
belongs to the worker. The budget is what live arrays may hold together: weights,
caches, and the work of one slice. MLX keeps freed buffers beside that, and gives
them back by itself when the device runs full.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import psutil

from app.machine import Machine

__all__ = ["Pressure", "ask_device", "available_bytes", "budget_bytes", "default_watermark_bytes", "is_short", "watch_pressure"]

_MIB = 1024**2
_GIB = 1024**3
# On Linux a process's CUDA context, its libraries and their workspaces come beside its arrays, and so may a desktop.
_CUDA_MARGIN_BYTES = _GIB
_CUDA_MARGIN_PART = 16
# Without a GPU the system, Redis, the API and the page cache live in the same memory.
_SYSTEM_BYTES = 2 * _GIB
_SYSTEM_PART = 4
_WATERMARK_BYTES = 512 * _MIB
_WATERMARK_PART = 20
_RELIEF = 1.5  # times the watermark: more than one small program's coming and going
_SAMPLE_S = 1.0


def budget_bytes(setting: int | None, machine: Machine, device: Mapping[str, int]) -> int:
    """Return the bytes that all models together may use.

    Args:
        setting: What the user allows; it comes before everything.
        machine: This machine.
        device: What :func:`ask_device` returned: on Metal the working set that it recommends, which is the most that
            it keeps resident; on CUDA the card's memory, of which a margin is left. Elsewhere it is empty, and the
            main memory counts but for a margin.
    """
    if setting is not None:
        return setting
    if recommended := device.get("max_recommended_working_set_size"):
        return recommended
    if total := device.get("total_memory"):
        return total - max(_CUDA_MARGIN_BYTES, total // _CUDA_MARGIN_PART)
    return machine.ram_bytes - min(machine.ram_bytes // 2, max(_SYSTEM_BYTES, machine.ram_bytes // _SYSTEM_PART))


def ask_device() -> Mapping[str, int]:
    """Return the sizes that mlx tells of its device, by mlx's own names. For the worker alone; empty on a CPU."""
    from app.engines.device import memory_sizes

    return memory_sizes()


def default_watermark_bytes(machine: Machine) -> int:
    """Return the available memory below which nothing more is admitted: 5% of it, at least 512 MiB, at most a quarter.

    A system that has less left than that is about to compress or to kill. earlyoom, which many Linux desktops run,
    kills from 10% on when swap is short too; macOS reports pressure once it compresses what is still in use.
    """
    return min(machine.ram_bytes // _SYSTEM_PART, max(_WATERMARK_BYTES, machine.ram_bytes // _WATERMARK_PART))


def watch_pressure(watermark: int | None, for_others: int | None, machine: Machine) -> Pressure:
    """Return what tells of memory pressure on *machine*.

    Args:
        watermark: The setting; None: the default of this machine.
        for_others: The setting; it has no say where models lie in the memory of an NVIDIA card, which others hardly use.
        machine: This machine.
    """
    watermark_bytes = default_watermark_bytes(machine) if watermark is None else watermark
    return Pressure(watermark_bytes, others_bytes=None if machine.nvidia else for_others)


def available_bytes() -> int:
    """Return what programs can still get without swapping.

    On macOS psutil counts free and inactive pages, which is right: what the compressor holds is in use and not
    counted, and what it could still compress belongs to programs that run.
    """
    return int(psutil.virtual_memory().available)


class Pressure:
    """Whether the machine is short of memory. The budget keeps our own use in bounds, so others are what makes it short.

    Args:
        watermark_bytes: Less than this available is short, until half as much again is there.
        others_bytes: What other programs are to keep available; None: what they have does not bound loads.
        sample: Returns the available bytes.
        now: Seconds, monotonic; a sample is good for a second.
    """

    def __init__(
        self,
        watermark_bytes: int,
        sample: Callable[[], int] = available_bytes,
        now: Callable[[], float] = time.monotonic,
        others_bytes: int | None = None,
    ) -> None:
        self._watermark_bytes = watermark_bytes
        self._sample = sample
        self._now = now
        self._looked_s: float | None = None
        self._others_bytes = others_bytes
        self._available_bytes = 0
        self._short = False

    @property
    def short(self) -> bool:
        """Whether nothing more should be admitted just now. What runs goes on."""
        self._see()
        return self._short

    def taken_bytes(self, free_bytes: int) -> int:
        """Return how many of the *free_bytes* of our budget no load may have now: other programs use them, or are to keep them."""
        if self._others_bytes is None:
            return 0
        self._see()
        return max(0, free_bytes - max(0, self._available_bytes - self._others_bytes))

    def _see(self) -> None:
        now = self._now()
        if self._looked_s is None or now - self._looked_s >= _SAMPLE_S:
            self._looked_s = now
            self._available_bytes = self._sample()
            self._short = is_short(self._available_bytes, self._watermark_bytes, was_short=self._short)


def is_short(available: int, watermark: int, *, was_short: bool) -> bool:
    """Return whether so few bytes available are too few; once they are, relief takes half the watermark more."""
    return available < (watermark * _RELIEF if was_short else watermark)
