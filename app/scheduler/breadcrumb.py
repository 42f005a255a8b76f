"""Who is being stepped right now, in a file that outlives the process.

A worker that is killed by what it runs (out of memory, a fault in a kernel)
cannot say who did it. So the GPU thread names the work of a slice before the
slice, in a small memory-mapped file: no system call, and the kernel keeps the
page when the process dies. It does not survive a power cut, and need not.
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Breadcrumb", "Preparing", "load_name", "model_of", "slice_name", "slice_of"]

_SIZE_BYTES = 64 * 1024
_LENGTH_BYTES = 4
_LOAD = "load:"
_SLICE = "@"


def load_name(model: str) -> str:
    """Return what a breadcrumb calls the load of *model*."""
    return f"{_LOAD}{model}"


def model_of(name: str) -> str | None:
    """Return the model whose load *name* names, None where it names work."""
    return name.removeprefix(_LOAD) if name.startswith(_LOAD) else None


def slice_name(work_id: str, number: int) -> str:
    """Return what a breadcrumb calls the slice of this *number*, from 1 on, of one work."""
    return f"{work_id}{_SLICE}{number}"


def slice_of(name: str) -> tuple[str, int]:
    """Return work and number of the slice that *name* names; 0 where it is no slice, but what comes before the first."""
    work_id, _, number = name.rpartition(_SLICE)
    return (work_id, int(number)) if work_id and number.isdecimal() else (name, 0)


class Breadcrumb:
    """The file, mapped. One writer at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.truncate(_SIZE_BYTES)
            self._map = mmap.mmap(file.fileno(), _SIZE_BYTES)

    def read(self) -> list[str]:
        """Return what was being done when the last writer stopped."""
        length = int.from_bytes(self._map[:_LENGTH_BYTES], "little")
        text = self._map[_LENGTH_BYTES : _LENGTH_BYTES + min(length, _SIZE_BYTES - _LENGTH_BYTES)]
        return text.decode(errors="replace").split()

    def write(self, names: Sequence[str]) -> None:
        """Name the work of the slice that comes next; nothing, once it is over."""
        text = " ".join(names).encode()[: _SIZE_BYTES - _LENGTH_BYTES]
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


class Preparing:
    """Who is being prepared, by threads beside the GPU's, in a breadcrumb of its own. Thread-safe.

    A tokenizer or a template can take the process down as an engine can, and then too it must be known who did it.
    """

    def __init__(self, breadcrumb: Breadcrumb) -> None:
        self._breadcrumb = breadcrumb
        self._names: list[str] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def naming(self, *names: str) -> Iterator[None]:
        """Name what the block may die of."""
        with self._lock:
            self._names += names
            self._breadcrumb.write(self._names)
        try:
            yield
        finally:
            with self._lock:
                for name in names:
                    self._names.remove(name)
                self._breadcrumb.write(self._names)
