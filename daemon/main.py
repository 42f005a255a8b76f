"""Entry point of the daemon: ``mlx-local daemon``."""

from __future__ import annotations

import logging
import os
import signal
import sys
from threading import Event

from app import log
from app.errors import InferenceError
from app.settings import Settings, load_settings

__all__ = ["main"]

_WRONG_SETTING = 2
_LEDGER_PAUSE_S = 5.0


def main() -> int:
    """Run the daemon until SIGTERM or SIGINT; a wrong setting is one line on stderr and status 2."""
    try:
        settings = load_settings()
    except InferenceError as error:
        sys.stderr.write(f"mlx-local daemon: {error.message}\n")
        return _WRONG_SETTING
    log.configure(settings.log_level, settings.logs_dir / "transcribe-daemon.log")
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)  # it calls its own end an error; what it cannot do, a scan finds out
    stop, wake = Event(), Event()

    def end(*_: object) -> None:
        stop.set()
        wake.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    signal.signal(signal.SIGHUP, lambda *_: wake.set())
    _serve(settings, stop, wake)
    logging.shutdown()
    # A thread may be in the middle of an upload of hours; a job is submitted by the last byte alone, so it may be cut off.
    os._exit(0)


def _serve(settings: Settings, stop: Event, wake: Event) -> None:
    from daemon.ledger import LedgerUnavailable
    from daemon.service import Service

    while not stop.is_set():
        try:
            Service(settings, stop, wake).run()
        except LedgerUnavailable as error:  # no space in the home: nothing that a restart would mend
            log.get_logger("daemon").warning("ledger.unavailable", reason=str(error))
            stop.wait(_LEDGER_PAUSE_S)
        except Exception:  # the process boundary
            log.get_logger("daemon").exception("daemon.failed")  # else its log would not say why it ended
            raise


if __name__ == "__main__":
    sys.exit(main())
