"""In which order an entry's thought, text and calls came, where that is not the usual one. Pure.

An entry of a job's stream has each of them joined. Its *runs* say how they take
turns: a letter (``r`` reasoning, ``t`` text, ``c`` calls) and how much of it,
characters or pieces of calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["Turn", "packed_runs", "runs_of", "unpacked_runs"]

Turn = tuple[str, int]

_USUAL = "rtc"


def runs_of(reasoning: str, text: str, calls: Sequence[object]) -> list[Turn]:
    """Return the runs of what came in the usual order."""
    return [(letter, size) for letter, size in zip(_USUAL, (len(reasoning), len(text), len(calls)), strict=True) if size]


def packed_runs(runs: Iterable[Turn]) -> str | None:
    """Return *runs* as a field of a stream's entry, None where the order is the usual one."""
    joined: list[Turn] = []
    for letter, size in runs:
        if joined and joined[-1][0] == letter:
            joined[-1] = (letter, joined[-1][1] + size)
        elif size:
            joined.append((letter, size))
    letters = [_USUAL.index(letter) for letter, _ in joined]
    return None if letters == sorted(set(letters)) else " ".join(f"{letter}{size}" for letter, size in joined)


def unpacked_runs(text: str) -> tuple[Turn, ...]:
    """Return what :func:`packed_runs` was given, neighbours joined."""
    return tuple((part[0], int(part[1:])) for part in text.split())
