"""A home's name among workers: its own for as long as it is that folder, and never that of a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

from app.actors.home import home_id
from app.machine import machine_id


def test_a_home_keeps_its_name_when_it_is_moved_and_a_copy_of_it_gets_another(tmp_path: Path) -> None:
    home, moved, copied = (tmp_path / name for name in ("home", "moved", "copied"))
    home.mkdir()
    name = home_id(home)
    assert home_id(home) == name
    home.rename(moved)
    assert home_id(moved) == name
    shutil.copytree(moved, copied)
    assert (home_id(moved), home_id(copied) == name) == (name, False)
    assert home_id(copied) == home_id(copied)


def test_a_home_whose_name_is_another_machines_gets_another(tmp_path: Path) -> None:
    """An image of a whole disk has every number of the first."""
    name = home_id(tmp_path)
    renamed = home_id(tmp_path, taken=name.__eq__)
    assert renamed != name
    assert home_id(tmp_path) == renamed


def test_a_machine_is_told_from_others_by_the_same_word_each_time() -> None:
    assert machine_id() == machine_id()
