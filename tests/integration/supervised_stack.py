"""A small stack of stand-in programs under the real supervisor. Run as a program; no test module.

``python supervised_stack.py up FOLDER NAME=BEHAVIOUR ...`` supervises as
``mlx-local up`` does, in the order given, with worker, api and redis drained
in theirs; ``python supervised_stack.py program FOLDER NAME BEHAVIOUR`` is one
of the programs. Behaviours: ``steady``; ``stubborn`` ignores SIGTERM;
``broken`` cannot start; ``misconfigured`` cannot either, by its settings;
``parent`` starts a process of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from app.cli.child import Program
from app.cli.entry import SUPERVISOR, take_locks
from app.cli.guard import Guard
from app.cli.ownership import own_home
from app.cli.stopping import DRAIN_ORDER
from app.cli.supervisor import Supervisor
from app.cli.terminal import say

DRAIN_S = 1.0


def up(folder: Path, behaviours: dict[str, str]) -> int:
    """Supervise the programs of *behaviours*; the first one has to be ready before the others start."""
    own_home(folder)
    guard = Guard(folder, DRAIN_S)
    first = next(iter(behaviours))
    programs = [
        Program(
            name=name,
            command=(sys.executable, __file__, "program", str(folder), name, behaviour),
            environment={SUPERVISOR: str(os.getpid())},
            ready=lambda pid, file=folder / f"{name}.ready": file.exists() and file.read_text() == str(pid),  # type: ignore[misc]
            start_stage=int(name != first),
            drain_stage=next(stage for stage, names in enumerate(DRAIN_ORDER) if name in names),
            drain_s=DRAIN_S if behaviour == "stubborn" else 60.0,
        )
        for name, behaviour in behaviours.items()
    ]
    code = Supervisor(programs, stderr_dir=folder, say=say, on_ready=lambda: say("READY"), watcher=guard).run()
    guard.dismiss()
    return code


def program(folder: Path, name: str, behaviour: str) -> int:
    """Be one stand-in: take the locks as an entry point does, say ready, wait for SIGTERM, note the end."""
    if behaviour == "broken":
        sys.stderr.write(f"first words of {os.getpid()}\nno such thing: {os.getpid()}\n")
        return 1
    if behaviour == "misconfigured":
        sys.stderr.write("MLX_LOCAL_CATALOG: no such file\n")
        return 2
    stop = {signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    take_locks(folder, name)
    if behaviour == "parent":
        # It holds a lock of its own for as long as it lives.
        lock = folder / "offspring.lock"
        code = f"import pathlib, signal\nfrom app.cli.ownership import hold\nhold(pathlib.Path({str(lock)!r}))\nsignal.pause()"
        subprocess.Popen([sys.executable, "-c", code])
    note(folder / "log", f"start {name}\n")
    staged = folder / f"{name}.staged"
    staged.write_text(str(os.getpid()))
    staged.replace(folder / f"{name}.ready")
    while True:
        signal.sigwait(stop)
        if behaviour != "stubborn":
            note(folder / "log", f"end {name}\n")
            return 0


def note(file: Path, text: str) -> None:
    """Append *text* in one write."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, text.encode())
    os.close(fd)


if __name__ == "__main__":
    place = Path(sys.argv[2])
    if sys.argv[1] == "up":
        sys.exit(up(place, dict(argument.split("=") for argument in sys.argv[3:])))
    sys.exit(program(place, *sys.argv[3:]))
