"""Who is next among those who take turns in an engine."""

from __future__ import annotations

from itertools import pairwise

from app.engines.rotation import Rotation


def rotation(*names: str) -> Rotation[str]:
    made: Rotation[str] = Rotation(lambda name: name.startswith("night"))
    for name in names:
        made.join(name)
    return made


def turns(of: Rotation[str], count: int) -> list[str | None]:
    found = []
    for _ in range(count):
        assert of.first == of.first
        found.append(of.first)
        of.pass_on()
    return found


def test_equals_go_round() -> None:
    assert turns(rotation("a", "b", "c"), 7) == ["a", "b", "c", "a", "b", "c", "a"]
    assert turns(rotation("night 1", "night 2"), 3) == ["night 1", "night 2", "night 1"]
    assert turns(rotation(), 1) == [None]


def test_what_nobody_waits_for_lets_eight_pass_and_then_has_its_turn() -> None:
    made = rotation("night 1", "a", "night 2", "b")
    found = turns(made, 36)
    assert found[:10] == ["a", "b"] * 4 + ["night 1", "a"]
    assert [name for name in found if name and name.startswith("night")] == ["night 1", "night 2", "night 1", "night 2"]
    places = [place for place, name in enumerate(found) if name and name.startswith("night")]
    assert all(after - before == 9 for before, after in pairwise(places))


def test_who_leaves_is_not_waited_for() -> None:
    made = rotation("night 1", "a")
    turns(made, 3)
    made.leave("a")
    assert [*made] == ["night 1"]
    assert turns(made, 2) == ["night 1", "night 1"]
    made.clear()
    assert not len(made)
    assert made.first is None
