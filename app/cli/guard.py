"""A small process that outlives a killed ``up`` just long enough to stop its children.

``up`` can be killed with no chance to drain (``kill -9``, out of memory). The
guard holds the reading end of a pipe whose writing end ``up`` alone holds:
when the pipe closes, ``up`` is gone, and whatever of its children still holds
a lock is drained in the usual order. This needs nothing from the children and
works alike on macOS and Linux, unlike a parent-death signal, which is Linux's
alone and fires when the parent's *thread* ends. If the guard is killed too,
the next ``up`` or ``stop`` finds the children by their locks.

One guard of a home works at a time, so the next ``up`` waits until the last
one's children have gone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from app.cli.ownership import claim_process
from app.cli.stopping import DRAIN_ORDER, stop_living

__all__ = ["Guard"]

_STAGES = len(DRAIN_ORDER) + 1  # of an earlier guard that is at work, and one of grace


class Guard:
    """The guard of this process."""

    def __init__(self, run_dir: Path, drain_s: float) -> None:
        self._command = [sys.executable, "-P", "-m", "app.cli.guard", str(run_dir), str(drain_s), str(os.getpid())]
        self._process: subprocess.Popen[bytes] | None = None

    def ensure(self) -> None:
        """Start a guard unless one lives; return once it watches, and so once an earlier one has done its work."""
        if self._process is not None and self._process.poll() is None:
            return
        self.dismiss()
        # A session of its own: neither Ctrl-C nor the end of the terminal reaches it.
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        self._process.stdout.readline()

    def dismiss(self) -> None:
        """End the guard. What still lives of this process's children is stopped by it."""
        if self._process is None:
            return
        process, self._process = self._process, None
        for end in (process.stdin, process.stdout):
            if end is not None:
                end.close()
        process.wait()


def watch(run_dir: Path, drain_s: float, supervisor: int) -> None:
    """Wait until the pipe on stdin closes, then stop the children of *supervisor*."""
    claim_process(run_dir, "guard", supervisor, patience_s=_STAGES * drain_s)
    with contextlib.suppress(BrokenPipeError):  # killed already: then the pipe on stdin is closed too
        os.write(sys.stdout.fileno(), b"watching\n")
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop_living(run_dir, drain_s, supervisor=supervisor)


if __name__ == "__main__":
    watch(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
