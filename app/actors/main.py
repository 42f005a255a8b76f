"""Entry point of the worker process: ``mlx-local worker``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

# Read by dramatiq when it is imported: how long a consumer waits after it lost Redis.
os.environ.setdefault("dramatiq_restart_delay", "500")

from app import log
from app.actors.following import Following
from app.actors.stop_signals import StopSignals
from app.errors import InferenceError, InvalidSetting, NewerSchema
from app.serving import is_service
from app.settings import Settings, forget_secrets, load_settings

if TYPE_CHECKING:
    from app.actors.chains import Steps
    from app.jobs.record import JobKind

__all__ = ["end_process", "main"]

# Not 0, which tells launchd and systemd that it is meant to stay away.
_START_AGAIN = os.EX_TEMPFAIL


def main(settings: Settings | None = None, steps: Mapping[JobKind, Steps] | None = None) -> int:
    """Run a worker until SIGTERM or SIGINT, then drain it; SIGHUP makes it read the catalog again.

    Args:
        settings: Those of the environment, where none are given.
        steps: Who knows the steps of kinds that are done in several.

    Returns:
        The exit code: 0 after a stop that was asked for, 2 where starting again is of no use.
    """
    try:
        settings = settings or load_settings()
        forget_secrets()
        log.configure(settings.log_level, settings.logs_dir / "worker.log")
        from app.actors.worker import InferenceWorker

        worker = InferenceWorker(settings, steps)
    except InferenceError as error:
        sys.stderr.write(f"mlx-local worker: {error.message}\n")
        # 2 says that starting again is of no use.
        return 2 if isinstance(error, InvalidSetting | NewerSchema) else 1
    threading.excepthook = end_process
    stop = StopSignals()
    signal.signal(signal.SIGHUP, lambda *_: worker.read_catalog())
    following = Following(settings.run_dir) if is_service() else None
    worker.start()
    follows = _wait(stop, following)
    worker.drain()
    if worker.refusal is not None:
        sys.stderr.write(f"mlx-local worker: {settings.api_url}: {worker.refusal}\n")
        return 2
    return _START_AGAIN if follows else 0


def _wait(stop: StopSignals, following: Following | None) -> bool:
    """Wait for a reason to stop; return whether this worker is to be started again."""
    if following is None:
        stop.wait()
        return False
    follows = following.wait(stop.event)
    if follows:
        log.get_logger("worker").info("worker.follows", detail="The main API was restarted, and so is this worker.")
    return follows


def end_process(what: threading.ExceptHookArgs) -> None:
    """End with the thread that died: a worker that lacks one holds jobs and does not run them; the next one rescues them."""
    log.get_logger("worker").critical(
        "worker.thread_died", thread=what.thread.name if what.thread else "", exc_info=(what.exc_type, what.exc_value, what.exc_traceback)
    )
    os._exit(70)


if __name__ == "__main__":
    sys.exit(main())
