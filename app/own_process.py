"""What this process takes of the machine, for those who watch it. The same on Linux and macOS."""

from __future__ import annotations

import os
from typing import NamedTuple

import psutil

__all__ = ["OwnProcess", "own_process"]


class OwnProcess(NamedTuple):
    """As of this moment."""

    started_at: float  # epoch s
    cpu_s: float  # of all its threads, user and system
    resident_bytes: int
    threads: int
    open_files: int  # file descriptors


def own_process() -> OwnProcess:
    """Ask the system; some tenths of a millisecond."""
    process = psutil.Process(os.getpid())
    with process.oneshot():
        cpu = process.cpu_times()
        return OwnProcess(process.create_time(), cpu.user + cpu.system, process.memory_info().rss, process.num_threads(), process.num_fds())
