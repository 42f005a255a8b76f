"""Fetching as the tests do it: what comes, or why nothing does."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from app.addresses.connecting import Resolve, look_up
from app.errors import PictureNotFetched
from app.pictures.fetching import fetch

__all__ = ["LONG_S", "MOST_BYTES", "get", "names", "picture", "refusal"]

MOST_BYTES = 100_000
LONG_S = 30.0


def picture() -> bytes:
    """Return a small PNG."""
    content = io.BytesIO()
    Image.new("RGB", (6, 4), "red").save(content, "PNG")
    return content.getvalue()


def get(url: str, target: Path, *, private: bool = True, timeout_s: float = LONG_S, resolve: Resolve = look_up) -> int:
    """Fetch *url* to *target*, from this machine too unless told otherwise."""
    return asyncio.run(fetch(url, target, max_bytes=MOST_BYTES, timeout_s=timeout_s, private=private, resolve=resolve))


def refusal(url: str, target: Path, *, private: bool = True, timeout_s: float = LONG_S, resolve: Resolve = look_up) -> str:
    """Return why *url* is not fetched from; nothing is left at *target*."""
    with pytest.raises(PictureNotFetched) as refused:
        get(url, target, private=private, timeout_s=timeout_s, resolve=resolve)
    assert not target.exists()
    assert refused.value.code == "image_not_fetched"
    return refused.value.message


def names(**known: Sequence[str]) -> Resolve:
    """Return a resolver that knows these names, with the labels joined by underscores, and each once: it is never asked twice."""
    left = {name.replace("_", "."): addresses for name, addresses in known.items()}

    async def resolve(host: str, port: int) -> Sequence[str]:
        return left.pop(host)

    return resolve
