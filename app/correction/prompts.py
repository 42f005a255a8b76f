"""What a model is asked about a piece of a transcript. Pure; the words themselves are in ``prompts.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

__all__ = ["Asked", "answer_budget", "fitting", "messages"]

_SINITIC = frozenset({"zh", "yue"})
_UNKNOWN = "the language of the transcript"
_MOST_HOTWORD_CHARACTERS = 4000  # they are in the prompt of every piece
_BYTES_A_TOKEN = 2  # of UTF-8, where a tokenizer knows the script badly; those that know it need half as many tokens
_SPARE_TOKENS = 96


class Asked(NamedTuple):
    """What is the same for every piece."""

    language: str | None  # ISO code; None: nobody knows
    language_name: str | None  # in English
    hotwords: Sequence[str] = ()
    additions: str = ""  # what the user wants besides


def messages(piece: str, before: str, asked: Asked) -> list[dict[str, str]]:
    """Return the conversation that has *piece* corrected; *before* is what came before it, for the context."""
    return [
        {"role": "system", "content": _instructions(asked)},
        {"role": "user", "content": "\n".join([*(_tagged("before", before) if before else ()), *_tagged("transcript", piece.strip())])},
    ]


def fitting(hotwords: Sequence[str]) -> int:
    """Return how many of *hotwords*, from the first on, a prompt has room for."""
    room = _MOST_HOTWORD_CHARACTERS
    for number, word in enumerate(hotwords):
        room -= len(word) + 2
        if room < 0:
            return number
    return len(hotwords)


def answer_budget(piece: str) -> int:
    """Return how many tokens the corrected *piece* may have. One that needs more goes on where the piece does not."""
    return len(piece.encode()) // _BYTES_A_TOKEN + _SPARE_TOKENS


def _instructions(asked: Asked) -> str:
    words = _prompts()["zh" if asked.language in _SINITIC else "en" if asked.language == "en" else "other"]
    told = [words["instructions"].strip().replace("{language}", asked.language_name or _UNKNOWN)]
    if asked.hotwords:
        known = asked.hotwords[: fitting(asked.hotwords)]
        told.append(words["hotwords"].replace("{words}", words["separator"].join(known)))
    if asked.additions.strip():
        told.append(words["additions"].replace("{additions}", asked.additions.strip()))
    return "\n".join(told)


def _tagged(name: str, text: str) -> tuple[str, str, str]:
    return f"<{name}>", text, f"</{name}>"


@cache
def _prompts() -> dict[str, dict[str, str]]:
    return tomllib.loads(files("app.correction").joinpath("prompts.toml").read_text("utf-8"))
