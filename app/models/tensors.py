"""The tensors of a model's folder, from the headers of its safetensors files.

Reads headers alone, a few kilobytes each: no weights, no mlx. A file whose header
cannot be read counts with its whole size, so that a sum is never too small; that
the file is no good is for the load to say.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["FLOAT_BYTES", "bytes_by_type", "fingerprint"]

FLOAT_BYTES: Mapping[str, int] = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a value of each float type that a load may cast."""

_LENGTH_BYTES = 8
_LARGEST_HEADER_BYTES = 100_000_000  # the format's own limit
_UNREADABLE = "unreadable"


def bytes_by_type(directory: Path) -> Mapping[str, int]:
    """Return the bytes that the folder's tensors have in each of the format's types, such as ``BF16`` or ``U32``."""
    total: Counter[str] = Counter()
    for file in _weight_files(directory):
        total.update(_header_bytes(file))
    return total


def fingerprint(directory: Path) -> str:
    """Return a short name of what the folder holds: another quantisation or revision has another."""
    digest = hashlib.sha256()
    for file in _weight_files(directory):
        digest.update(f"{file.relative_to(directory)}:{file.stat().st_size}\n".encode())
    try:
        digest.update((directory / "config.json").read_bytes())
    except OSError:
        digest.update(b"no configuration")
    return digest.hexdigest()[:16]


def _weight_files(directory: Path) -> Iterator[Path]:
    """Yield the files that a load reads, those of parts in their own folders too (the codec of a voice is one)."""
    for file in sorted(directory.rglob("*.safetensors")):
        if file.name != "consolidated.safetensors":  # the same weights once more, in their maker's own layout
            yield file


def _header_bytes(file: Path) -> Mapping[str, int]:
    size = file.stat().st_size
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
            header: dict[str, Any] = json.loads(opened.read(min(length, size, _LARGEST_HEADER_BYTES)))
        total: Counter[str] = Counter()
        for name, tensor in header.items():
            if name != "__metadata__":
                begin, end = tensor["data_offsets"]
                total[tensor["dtype"]] += end - begin
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {_UNREADABLE: size}
    return total
