"""Memory of the device, beyond any one model. Called on the GPU thread."""

from __future__ import annotations

import gc

import mlx.core as mx
import psutil

from app.machine import detect

__all__ = [
    "SliceMemory",
    "active_bytes",
    "headroom_bytes",
    "memory_sizes",
    "on_cpu",
    "prefix_cache_bytes",
    "release_memory",
    "retire_thread",
    "settle_device",
    "trim_cache",
]

_MIB = 1024**2
_CACHE_BYTES = 512 * _MIB
_PREFIX_CACHE_MOST = 2048 * _MIB


def settle_device() -> None:
    """Set the limits of this process, once, before the first model loads.

    On Metal, weights stay wired: otherwise the system pages them out between requests. Freed buffers
    are kept for reuse up to a bound, since shapes vary and what is kept counts as used.
    """
    if mx.metal.is_available():
        mx.set_wired_limit(int(mx.device_info()["max_recommended_working_set_size"]))
    mx.set_cache_limit(_CACHE_BYTES)


def active_bytes() -> int:
    """Return the bytes that live arrays hold."""
    return int(mx.get_active_memory())


def memory_sizes() -> dict[str, int]:
    """Return the device's sizes in bytes by mlx's names: those of Metal or CUDA; on a CPU it tells of none."""
    names = ("max_recommended_working_set_size", "total_memory")
    return {name: int(value) for name, value in mx.device_info().items() if name in names}


class SliceMemory:
    """Watches the memory of one slice, from when it is made."""

    def __init__(self) -> None:
        mx.reset_peak_memory()
        self._before = mx.get_active_memory()

    def most_bytes(self) -> int:
        """Return the most that was in use beyond what was before."""
        return max(0, int(mx.get_peak_memory()) - self._before)


def headroom_bytes() -> int:
    """Return how much may still be allocated before this machine, or what Metal recommends, is full."""
    free = [int(psutil.virtual_memory().available) + int(mx.get_cache_memory())]
    if mx.metal.is_available():
        free.append(int(mx.device_info()["max_recommended_working_set_size"]) - int(mx.get_active_memory()))
    return min(free)


def retire_thread() -> None:
    """Free the calling thread's streams: the last call that a thread makes to MLX."""
    mx.clear_streams()


def on_cpu() -> bool:
    """Return whether models run on the CPU here."""
    return mx.default_device().type == mx.DeviceType.cpu


def prefix_cache_bytes() -> int:
    """Return how much one model may keep of the prompts it has read: 5% of the memory, 2 GiB at most."""
    machine = detect()
    return min(_PREFIX_CACHE_MOST, (machine.vram_bytes or machine.ram_bytes) // 20)


def trim_cache(keep_bytes: int) -> None:
    """Give freed buffers back once they exceed *keep_bytes*: each new shape adds to them."""
    if mx.get_cache_memory() > keep_bytes:
        mx.clear_cache()


def release_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    mx.clear_cache()
