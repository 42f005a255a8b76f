"""A worker hears that it is to end, whatever a library has made of signals."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_WAITS = """
import signal
from app.actors.stop_signals import StopSignals
stop = StopSignals()
signal.signal(signal.SIGHUP, lambda *_: print("hup", flush=True))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.siginterrupt(number, False)  # system calls go on after it, as after a handler that a library has put before ours
print("waits", flush=True)
stop.wait()
print("ends", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_also_where_it_interrupts_nothing(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _WAITS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "hup\n"
        process.send_signal(number)
        assert process.stdout.readline() == "ends\n"
        assert process.wait() == 0
