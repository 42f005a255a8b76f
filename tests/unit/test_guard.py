"""Corrections stand, in every language; what a model says instead of one does not. The texts are in ``tests/corrections.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from app.correction.guard import Verdict, judged

_CASES: dict[str, list[dict[str, Any]]] = tomllib.loads((Path(__file__).parents[1] / "corrections.toml").read_text("utf-8"))


def verdict(case: dict[str, Any]) -> Verdict:
    return judged(case["raw"], case["answer"], cut_off=case.get("cut_off", False), before=case.get("before", ""))


@pytest.mark.parametrize("case", _CASES["real"], ids=lambda case: case["name"])
def test_a_correction_stands(case: dict[str, Any]) -> None:
    assert verdict(case) == Verdict(case.get("becomes", case["answer"]), None, tuple(case.get("uncertain", ())))


@pytest.mark.parametrize("case", _CASES["false"], ids=lambda case: case["name"])
def test_what_is_no_correction_does_not_stand_and_says_why(case: dict[str, Any]) -> None:
    assert verdict(case) == Verdict(None, case["reason"])
