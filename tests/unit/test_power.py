"""What the machine runs on, what waits because of it, and how a Mac is kept awake. Programs of macOS are small scripts here."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.actors.awake import Awake
from app.jobs.decoding import why_batch_waits
from app.power_source import battery_charge, low_power_mode
from app.scheduler.budget import Pressure
from app.scheduler.power import Power, PowerWatch, batch_waits, look_at_power
from app.settings import load_settings

_STAYS = (sys.executable, "-c", "import signal; signal.pause()")
_PLUGGED, _BATTERY, _THRIFTY = Power(), Power(on_battery=True), Power(low_power=True)
_LOW = Power(on_battery=True, low_charge=True)


@pytest.mark.parametrize(
    ("power", "chosen", "word"),
    [
        (_PLUGGED, {}, ""),
        (_BATTERY, {}, ""),
        (_BATTERY, {"on_battery": "interactive"}, "on_battery"),
        (_LOW, {}, "low_charge"),
        (_LOW, {"on_low_power": "all"}, ""),
        (_THRIFTY, {}, "low_power"),
        (_THRIFTY, {"on_low_power": "all"}, ""),
        (Power(on_battery=True, low_power=True), {}, "low_power"),
        (Power(on_battery=True, low_power=True), {"on_battery": "interactive", "on_low_power": "all"}, "on_battery"),
    ],
)
def test_batch_work_waits_in_low_power_mode_and_on_a_low_battery_and_on_any_battery_where_the_settings_say_so(
    power: Power, chosen: dict[str, str], word: str, tmp_path: Path
) -> None:
    assert batch_waits(power, load_settings(home=tmp_path, **chosen)) == word
    assert not word or f"MLX_LOCAL_{'ON_BATTERY' if word == 'on_battery' else 'ON_LOW_POWER'} is `all`" in why_batch_waits(word)


@pytest.fixture
def pmset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Lets macOS's program say something when it is asked with these words."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def says(words: str, text: str) -> None:
        program = tmp_path / "pmset"
        program.write_text(f"#!/bin/sh\n[ \"$*\" = '{words}' ] && cat <<'END'\n{text}END\n")
        program.chmod(0o755)

    return says


@pytest.mark.skipif(shutil.which("pmset") is not None, reason="a Mac asks pmset")
@pytest.mark.parametrize(
    ("supplies", "charge"),
    [
        ([], None),
        ([{"type": "Mains", "online": "0"}, {"type": "Battery", "status": "Discharging", "capacity": "19"}], 19.0),
        ([{"type": "Battery", "status": "Charging", "capacity": "19"}], None),
        ([{"type": "Battery", "status": "Discharging", "capacity": "7", "scope": "Device"}], None),
        ([{"type": "Battery", "status": "Discharging", "capacity": capacity} for capacity in ("5", "80", "odd")], 80.0),
    ],
)
def test_on_linux_the_fullest_battery_that_is_no_mouses_counts(
    supplies: list[dict[str, str]], charge: float | None, tmp_path: Path
) -> None:
    for number, files in enumerate(supplies):
        folder = tmp_path / "class" / "power_supply" / f"battery_{number}"
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(f"{text}\n")
    assert battery_charge(tmp_path) == charge


@pytest.mark.parametrize(
    ("said", "charge"),
    [
        ("Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t64%; discharging; 3:10 remaining present: true\n", 64.0),
        ("Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t64%; charging; 1:10 remaining present: true\n", None),
        ("Now drawing from 'AC Power'\n", None),
    ],
)
def test_on_a_mac_the_battery_is_what_pmset_says(said: str, charge: float | None, pmset: Callable[[str, str], None]) -> None:
    pmset("-g batt", said)
    assert battery_charge() == charge


def test_less_than_a_fifth_is_a_low_charge(pmset: Callable[[str, str], None]) -> None:
    for charge, low in ((20, False), (19, True)):
        pmset("-g batt", f"Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t{charge}%; discharging\n")
        assert look_at_power() == Power(on_battery=True, low_charge=low)


def test_a_change_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    settings = load_settings(home=tmp_path, on_battery="interactive")
    watch = PowerWatch(settings, lambda: told.append(watch.batch_waits), look=lambda: _BATTERY)
    watch.start()
    watch.stop()
    for power in (_BATTERY, _PLUGGED, _PLUGGED, _THRIFTY):
        watch.see(power)
    assert told == ["on_battery", "", "low_power"]


@pytest.mark.parametrize(
    ("said", "low"),
    [
        ("Currently in use:\n standby              1\n lowpowermode         1\n sleep                1\n", True),
        ("Currently in use:\n standby              1\n lowpowermode         0\n", False),
        ("Currently in use:\n powermode            1\n hibernatemode        3\n", True),
        ("Currently in use:\n powermode            2\n", False),
        ("", False),
    ],
)
def test_low_power_mode_is_what_pmset_says(said: str, low: bool, pmset: Callable[[str, str], None]) -> None:  # noqa: FBT001 - pytest gives it by name
    pmset("-g", said)
    assert low_power_mode() is low


def test_the_machine_is_kept_awake_while_jobs_run_and_a_little_longer() -> None:
    clock = [0.0]
    awake = Awake(_STAYS, now=lambda: clock[0])
    awake.see(running=False)
    assert awake.held is None
    awake.see(running=True)
    first = awake.held
    clock[0] = 29.0
    awake.see(running=False)
    assert (awake.held, first is not None) == (first, True), "a model may be loaded between two jobs"
    clock[0] = 31.0
    awake.see(running=False)
    assert awake.held is None
    assert not Path(f"/proc/{first}").exists() or sys.platform != "linux"


def test_an_assertion_that_ended_is_taken_again_and_none_after_the_end() -> None:
    awake = Awake((sys.executable, "-c", ""))
    awake.see(running=True)
    first = awake.held
    assert first is not None
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    awake.see(running=True)
    assert awake.held not in {None, first}
    awake.close()
    awake.see(running=True)
    assert awake.held is None


def test_where_nothing_keeps_it_awake_jobs_run_all_the_same(tmp_path: Path) -> None:
    for command in (None, (str(tmp_path / "nowhere"),)):
        awake = Awake(command)
        awake.see(running=True)
        awake.close()
        assert awake.held is None


def test_loads_leave_other_programs_what_they_are_to_keep() -> None:
    available, clock = [1000, 5000], [0.0]
    pressure = Pressure(0, sample=lambda: available.pop(0), now=lambda: clock[0], others_bytes=2000)
    assert (pressure.taken_bytes(4000), pressure.short) == (4000, False)
    clock[0] = 1.0
    assert [pressure.taken_bytes(free) for free in (4000, 3000, 2000)] == [1000, 0, 0]
    assert Pressure(0, sample=lambda: 0).taken_bytes(4000) == 0, "unless it is set, the budget alone counts"
