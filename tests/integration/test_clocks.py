"""Machines whose clocks differ."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from app.jobs.broker import InferenceBroker, declare_actor
from app.settings import Settings

_ROOT = Path(__file__).parents[2]
_REAP = """
import sys
from pathlib import Path
from tests.hasty_worker import hasten
hasten()
from app.jobs.broker import InferenceBroker
from app.settings import load_settings
broker = InferenceBroker(load_settings(home=Path(sys.argv[1]), redis_url=sys.argv[2]), broker_id="worker:hasty-1")
broker.declare_queue("north_batch")
broker.reap()
"""


def test_a_worker_whose_clock_is_ahead_takes_no_message_of_one_that_lives(settings: Settings) -> None:
    broker = InferenceBroker(settings, broker_id="worker:here-1")
    declare_actor(broker, lambda *_: None)
    broker.declare_queue("north_batch")
    message = broker.announce("north_batch", "job", 1)
    broker.do_fetch("north_batch", 1)
    command = [sys.executable, "-c", _REAP, str(settings.home), str(settings.redis_url)]
    subprocess.run(command, cwd=_ROOT, check=True)
    assert broker.held("north_batch") == {message}
    assert {"worker:here-1", "worker:hasty-1"} == set(broker.brokers())
