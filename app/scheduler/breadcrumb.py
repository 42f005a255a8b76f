"""Who is being stepped right now, in a file that outlives the process.

A worker that is killed by what it runs (out of memory, a fault in a kernel)
cannot say who did it. So the GPU thread names the work of a slice before the
slice, in a small memory-mapped file: no system call, and the kernel keeps the
page when the process dies. It does not survive a power cut, and need not.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Breadcrumb"]

_SIZE_BYTES = 64 * 1024
_LENGTH_BYTES = 4


class Breadcrumb:
    """The file, mapped. One writer, the GPU thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.truncate(_SIZE_BYTES)
            self._map = mmap.mmap(file.fileno(), _SIZE_BYTES)

    def read(self) -> list[str]:
        """Return the work ids that were being stepped when the last writer stopped."""
        length = int.from_bytes(self._map[:_LENGTH_BYTES], "little")
        text = self._map[_LENGTH_BYTES : _LENGTH_BYTES + min(length, _SIZE_BYTES - _LENGTH_BYTES)]
        return text.decode(errors="replace").split()

    def write(self, work_ids: Sequence[str]) -> None:
        """Name the work of the slice that comes next; nothing, once it is over."""
        text = " ".join(work_ids).encode()[: _SIZE_BYTES - _LENGTH_BYTES]
        # Length last: a death in between leaves the old length, at worst a name cut short, which matches no job.
        self._map[:_LENGTH_BYTES] = (0).to_bytes(_LENGTH_BYTES, "little")
        self._map[_LENGTH_BYTES : _LENGTH_BYTES + len(text)] = text
        self._map[:_LENGTH_BYTES] = len(text).to_bytes(_LENGTH_BYTES, "little")

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
