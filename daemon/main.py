"""Entry point of the daemon: ``mlx-local daemon``."""

from __future__ import annotations

import logging
import os
import signal
import sys

from app import log
from app.errors import InferenceError
from app.settings import load_settings

__all__ = ["main"]

_WRONG_SETTING = 2


def main() -> int:
    """Run the daemon until SIGTERM or SIGINT; a wrong setting is one line on stderr and status 2."""
    try:
        settings = load_settings()
    except InferenceError as error:
        sys.stderr.write(f"mlx-local daemon: {error.message}\n")
        return _WRONG_SETTING
    log.configure(settings.log_level, settings.logs_dir / "transcribe-daemon.log")
    from daemon.service import Service

    service = Service(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    signal.signal(signal.SIGHUP, lambda *_: service.look())
    service.run()
    logging.shutdown()
    # A thread may be in the middle of an upload of hours; a job is submitted by the last byte alone, so it may be cut off.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
