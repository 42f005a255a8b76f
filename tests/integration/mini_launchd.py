"""A ``launchctl`` that supervises for real, as far as tests need it. Run as a program; no test module.

``bootstrap``, ``bootout``, ``kickstart`` (with ``-k``), ``enable`` and
``print`` do what macOS's do: ``bootout`` returns before the service has
ended, a label that is not free yet is refused with 5, a service gets nothing
of the environment but what its plist says (and PYTHONPATH, so that it finds
this tree), one that fails is started again, though not sooner than its plist says, one that ended well when ``kickstart`` says so, and
``-k`` kills. Every call is noted in the file ``calls`` of the folder MLX_TEST_LAUNCHD.
"""

from __future__ import annotations

import os
import plistlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

_NO_SUCH_SERVICE = 113
_IO_ERROR = 5
_FOLDER = Path(os.environ["MLX_TEST_LAUNCHD"])


def keep(label: str, plist: Path) -> None:
    """Be the keeper of one service: start it, again while it fails, until SIGTERM."""
    facts = plistlib.loads(plist.read_bytes())
    state, keeper = _FOLDER / f"{label}.state", _FOLDER / f"{label}.keeper"
    process: subprocess.Popen[bytes] | None = None
    asked, news = threading.Event(), threading.Event()

    def end(_number: int, _frame: object) -> None:
        asked.set()
        news.set()
        state.write_text("SIGTERMed")
        if process is not None:
            process.terminate()

    def kill(_number: int, _frame: object) -> None:
        if process is not None:
            process.kill()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGUSR1, kill)
    signal.signal(signal.SIGUSR2, lambda *_: news.set())
    environment = {"HOME": os.environ["HOME"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **facts["EnvironmentVariables"]}
    while not asked.is_set():
        began = time.monotonic()
        with Path(facts["StandardErrorPath"]).open("ab") as stderr:
            process = subprocess.Popen(facts["ProgramArguments"], env=environment, stdout=stderr, stderr=stderr, stdin=subprocess.DEVNULL)
        state.write_text("running")
        if process.wait() != 0:
            asked.wait(facts["ThrottleInterval"] - (time.monotonic() - began))
        elif not asked.is_set():
            state.write_text("not running")
            news.wait()
            news.clear()
    for file in (keeper, state):
        file.unlink()


def keeper_of(label: str) -> int | None:
    """Return the process that keeps a service that is loaded."""
    file = _FOLDER / f"{label}.keeper"
    return int(file.read_text()) if file.exists() else None


def bootstrap(plist: Path) -> int:
    """Load and start a service."""
    label = plistlib.loads(plist.read_bytes())["Label"]
    if keeper_of(label) is not None:
        sys.stderr.write("Bootstrap failed: 5: Input/output error\n")
        return _IO_ERROR
    nothing = subprocess.DEVNULL  # whoever called waits for the end of our output, not of the service
    command = [sys.executable, "-IS", __file__, "keep", label, str(plist)]
    process = subprocess.Popen(command, start_new_session=True, stdin=nothing, stdout=nothing, stderr=nothing)
    (_FOLDER / f"{label}.keeper").write_text(str(process.pid))
    while not (_FOLDER / f"{label}.state").exists():
        time.sleep(0.01)
    return 0


def answer(words: list[str]) -> int:
    """Do what one call asks."""
    verb, label = words[0], words[-1].rpartition("/")[2]
    if verb == "bootstrap":
        return bootstrap(Path(words[2]))
    if verb == "enable":
        return 0
    keeper = keeper_of(label)
    if keeper is None:
        sys.stderr.write(f'Could not find service "{label}" in domain for user gui: {os.getuid()}\n')
        return _NO_SUCH_SERVICE
    if verb == "bootout":
        os.kill(keeper, signal.SIGTERM)
    elif verb == "kickstart" and "-k" in words:
        os.kill(keeper, signal.SIGUSR1)
    elif verb == "kickstart" and (_FOLDER / f"{label}.state").read_text() == "not running":
        os.kill(keeper, signal.SIGUSR2)
    elif verb == "print":
        state = (_FOLDER / f"{label}.state").read_text()
        sys.stdout.write(f"{words[1]} = {{\n\tstate = {state}\n\tlast exit code = 0\n}}\n")
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        keep(sys.argv[2], Path(sys.argv[3]))
    else:
        with (_FOLDER / "calls").open("a") as calls:
            calls.write(" ".join(sys.argv[1:]) + "\n")
        sys.exit(answer(sys.argv[1:]))
