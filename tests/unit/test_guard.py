"""Corrections stand, in every language; what a model says instead of one does not.

The texts are in ``tests/corrections.toml``, and sentences in which a word may have become another in ``tests/sentences.toml``.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from app.correction.guard import Verdict, judged

_TESTS = Path(__file__).parents[1]
_CASES: dict[str, list[dict[str, Any]]] = tomllib.loads((_TESTS / "corrections.toml").read_text("utf-8"))
_SENTENCES: dict[str, list[tuple[str, str, str]]] = tomllib.loads((_TESTS / "sentences.toml").read_text("utf-8"))


def verdict(case: dict[str, Any]) -> Verdict:
    return judged(case["raw"], case["answer"], cut_off=case.get("cut_off", False), before=case.get("before", ""))


@pytest.mark.parametrize("case", _CASES["real"], ids=lambda case: case["name"])
def test_a_correction_stands(case: dict[str, Any]) -> None:
    assert verdict(case) == Verdict(case.get("becomes", case["answer"]), None, tuple(case.get("uncertain", ())))


@pytest.mark.parametrize("case", _CASES["false"], ids=lambda case: case["name"])
def test_what_is_no_correction_does_not_stand_and_says_why(case: dict[str, Any]) -> None:
    assert verdict(case) == Verdict(None, case["reason"])


@pytest.mark.parametrize(("_", "heard", "answer"), _SENTENCES["corrected"])
def test_what_was_misheard_becomes_what_sounds_or_looks_like_it(_: str, heard: str, answer: str) -> None:
    assert judged(heard, answer) == Verdict(answer, None)


@pytest.mark.parametrize(("_", "heard", "answer"), _SENTENCES["swapped"])
def test_a_word_that_becomes_quite_another_is_no_correction(_: str, heard: str, answer: str) -> None:
    assert judged(heard, answer) == Verdict(None, "reworded")


def test_a_known_word_need_be_less_alike_and_a_marked_one_not_at_all() -> None:
    heard = "my colleague win from the bank will join us on thursday"
    answer = "My colleague Nguyen from the bank will join us on Thursday."

    assert judged(heard, answer).kept_raw == "reworded"
    assert judged(heard, answer, hotwords=["Le", "Nguyen"]).corrected == answer
    assert judged(heard, answer.replace("bank", "river"), hotwords=["Nguyen", "river"]).kept_raw == "reworded"
    assert judged(heard, answer.replace("Nguyen", "【?Nguyen】")).uncertain == ("Nguyen",)


def test_of_a_long_piece_few_words_may_become_others() -> None:
    heard = " ".join(f"on day {day} the {animal} crossed the road" for day in range(15) for animal in ("hedgehog", "tortoise"))

    assert judged(heard, heard.replace("day 3 the hedgehog", "day 3 the buffalo")).corrected is not None
    assert judged(heard, heard.replace("hedgehog", "buffalo")).kept_raw == "reworded"
