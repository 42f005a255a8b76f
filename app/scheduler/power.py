"""What this machine runs on, and whether batch work waits because of it.

A machine in low-power mode, or on battery with little charge, is to be thrifty:
only what somebody waits for begins then, unless the settings say otherwise. On
battery alone everything begins, unless they say otherwise: who drops a recording
on a laptop expects its text. What runs already goes on. Machines that do not
tell what they run on are plugged in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from app.log import get_logger
from app.power_source import LOW_CHARGE_PERCENT, battery_charge, low_power_mode
from app.scheduler.plans import Why

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["Power", "PowerWatch", "batch_waits", "look_at_power"]

log = get_logger("worker.power")

_LOOK_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Power:
    """What the machine runs on."""

    on_battery: bool = False
    low_charge: bool = False  # of the battery that it runs on
    low_power: bool = False


def look_at_power() -> Power:
    """Ask the system."""
    charge = battery_charge()
    return Power(on_battery=charge is not None, low_charge=charge is not None and charge < LOW_CHARGE_PERCENT, low_power=low_power_mode())


def batch_waits(power: Power, settings: Settings) -> str:
    """Return why no batch work begins, in a word; empty: it may."""
    if power.on_battery and settings.on_battery == "interactive":
        return Why.ON_BATTERY
    if settings.on_low_power == "all":
        return ""
    if power.low_power:
        return Why.LOW_POWER
    return Why.LOW_CHARGE if power.low_charge else ""


class PowerWatch:
    """Knows at every moment whether batch work waits. Looks every few seconds, on a thread of its own: asking may take a while.

    Args:
        settings: Say what is to wait, and when.
        changed: Called after every change. Must be quick, and never wait.
        look: Returns what the machine runs on.
    """

    def __init__(self, settings: Settings, changed: Callable[[], None], look: Callable[[], Power] = look_at_power) -> None:
        self._settings = settings
        self._changed = changed
        self._look = look
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)
        self.batch_waits = ""

    def start(self) -> None:
        """Look once, and then now and again; not at all where nothing would wait."""
        if "interactive" in (self._settings.on_battery, self._settings.on_low_power):
            self.see(self._look())
            self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    def see(self, power: Power) -> None:
        """Take note of what the machine runs on."""
        word = batch_waits(power, self._settings)
        if word != self.batch_waits:
            self.batch_waits = word
            log.info("power.changed", batch_waits=word, **asdict(power))
            self._changed()

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            self.see(self._look())
