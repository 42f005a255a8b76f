"""The cache of another machine's blobs: which leave for others, and which do not."""

from __future__ import annotations

import os
from pathlib import Path

from app.jobs.blob_cache import BlobCache


def place(cache: BlobCache, name: str, size: int = 10) -> None:
    file = cache.begin()
    file.write_bytes(b"x" * size)
    cache.place(file, name)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_least_recently_used_leaves(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "cache", 30)
    for name in "abc":
        place(cache, name)
    assert cache.find("a")
    place(cache, "d")
    assert names(tmp_path / "cache") == {"a", "c", "d"}
    assert cache.find("b") is None


def test_what_is_pinned_stays_until_everybody_let_go(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 10)
    for _ in range(2):
        cache.pin("a")
    for name in "abc":
        place(cache, name)
    assert names(tmp_path) == {"a", "c"}  # what has just come stays too
    cache.unpin("a")
    assert cache.trim() == 1
    assert names(tmp_path) == {"a"}
    cache.unpin("a")
    assert cache.trim(0) == 1
    assert names(tmp_path) == set()


def test_the_next_process_knows_what_was_used_and_takes_no_half_written_file(tmp_path: Path) -> None:
    earlier = BlobCache(tmp_path, 100)
    for name in "abc":
        place(earlier, name)
    half_written = earlier.begin()
    earlier.part("d").write_bytes(b"half")
    for age, name in enumerate(["b", "c", "d.part", "a"]):
        os.utime(tmp_path / name, (age, age))
    cache = BlobCache(tmp_path, 30)
    place(cache, "e")
    assert names(tmp_path) == {"d.part", "a", "e"}
    assert not half_written.exists()
    part = cache.part("d")
    assert part.read_bytes() == b"half"
    cache.place(part, "d")
    assert names(tmp_path) == {"d", "a", "e"}


def test_what_is_left_of_a_fetch_that_was_given_up_counts_and_leaves(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 30)
    cache.pin("a")
    cache.part("a").write_bytes(b"x" * 40)
    assert cache.trim() == 0
    cache.unpin("a")
    assert cache.trim() == 1
    assert names(tmp_path) == set()


def test_a_file_that_somebody_removed_is_not_here(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 30)
    place(cache, "a", 25)
    (tmp_path / "a").unlink()
    assert cache.find("a") is None
    place(cache, "b", 25)
    assert cache.find("b")
