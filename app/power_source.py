"""What this machine runs on, as its system tells: ``pmset`` on macOS, ``/sys`` on Linux. A machine that does not tell is plugged in.

Linux lists the batteries of mice and keyboards beside the machine's own; they
do not count, though psutil takes the first of any for the machine's.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from pathlib import Path

__all__ = ["LOW_CHARGE_PERCENT", "battery_charge", "low_power_mode"]

LOW_CHARGE_PERCENT = 20
"""With less than this a battery is to be spared, as phones and macOS see it."""

_SYS = Path("/sys")
# Macs with a high-power mode too number them: 0 automatic, 1 low, 2 high.
_LOW_POWER = re.compile(r"^\s*(low)?powermode\s+1\s*$", re.MULTILINE)
_BATTERY = re.compile(r"^Now drawing from 'Battery Power'.*?(\d+)%", re.DOTALL)
_PATIENCE_S = 5.0


def low_power_mode(sys: Path = _SYS) -> bool:
    """Return whether the user asked this machine to be thrifty: macOS's Low Power Mode, Linux's power saver.

    Args:
        sys: Where Linux tells of its devices.
    """
    if shutil.which("pmset"):
        return _LOW_POWER.search(_pmset("-g")) is not None
    return _read(sys / "firmware" / "acpi" / "platform_profile") == "low-power"


def battery_charge(sys: Path = _SYS) -> float | None:
    """Return the charge, in percent, of the battery that this machine runs on; None while it runs on none.

    Args:
        sys: Where Linux tells of its devices.
    """
    if shutil.which("pmset"):
        found = _BATTERY.search(_pmset("-g", "batt"))
        return float(found[1]) if found else None
    supplies = [kind.parent for kind in (sys / "class" / "power_supply").glob("*/type")]
    batteries = [supply for supply in supplies if _read(supply / "type") == "Battery" and _read(supply / "scope") != "Device"]
    charges = [_read(battery / "capacity") for battery in batteries if _read(battery / "status") == "Discharging"]
    # Of two batteries one is used up before the other, so the fuller one says how long the machine has.
    return max((float(charge) for charge in charges if charge.isdecimal()), default=None)


def _pmset(*words: str) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(["pmset", *words], capture_output=True, text=True, timeout=_PATIENCE_S, check=True).stdout
    return ""


def _read(file: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        return file.read_text("utf-8").strip()
    return ""
