"""The supervisor over real processes, told apart by what it prints and by the locks they hold."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.cli.ownership import hold, living
from app.cli.stopping import stop_living

STACK = Path(__file__).with_name("supervised_stack.py")
WHOLE = ("redis=steady", "api=steady", "audio=steady", "worker=steady")


class Stack:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, behaviours: tuple[str, ...]) -> None:
        self.folder = folder
        command = [sys.executable, str(STACK), "up", str(folder), *behaviours]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.lines: list[str] = []

    def until(self, pattern: str) -> str:
        """Read lines up to one that matches *pattern*, and return it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if re.search(pattern, line):
                return line
        pytest.fail(f"no line matches {pattern!r} in {self.lines}")

    def end(self) -> int:
        """Read to the end and return the exit status."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout.read().splitlines()
        return self.process.wait()

    def pid(self, name: str) -> int:
        """Return the process id of one of its programs."""
        return living(self.folder)[name].pid

    def log(self) -> list[str]:
        """What the programs noted of their starts and ends."""
        return (self.folder / "log").read_text().splitlines()


Run = Callable[..., Stack]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start supervisors; whatever still lives at the end is killed."""
    stacks: list[Stack] = []

    def start(*behaviours: str) -> Stack:
        stacks.append(Stack(tmp_path, behaviours))
        return stacks[-1]

    yield start
    for stack in stacks:
        with stack.process:
            stack.process.kill()
    stop_living(tmp_path, 0.0)


def freed(lock: Path) -> bool:
    """Wait until nobody holds *lock*."""
    fd = hold(lock, patience_s=60)
    if fd is not None:
        os.close(fd)
    return fd is not None


def test_the_first_stage_is_ready_before_the_next_starts(run: Run) -> None:
    stack = run(*WHOLE)
    stack.until("READY")

    assert stack.log()[0] == "start redis"
    assert sorted(stack.log()) == ["start api", "start audio", "start redis", "start worker"]
    assert set(living(stack.folder)) == {"guard", "redis", "api", "audio", "worker"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_drains_the_worker_first_and_redis_last(run: Run, how: signal.Signals) -> None:
    stack = run(*WHOLE)
    stack.until("READY")
    os.killpg(stack.process.pid, how)  # the whole group, as a terminal does: the children are not in it

    assert stack.end() == 0
    ends = [line for line in stack.log() if line.startswith("end")]
    assert ends[0] == "end worker"
    assert sorted(ends[1:3]) == ["end api", "end audio"]
    assert ends[3:] == ["end redis"]
    assert living(stack.folder) == {}


def test_a_program_that_is_killed_is_back_and_the_others_never_left(run: Run) -> None:
    stack = run(*WHOLE)
    stack.until("READY")
    others = {name: stack.pid(name) for name in ("redis", "api", "audio")}
    killed = stack.pid("worker")
    os.kill(killed, signal.SIGKILL)

    assert "killed by SIGKILL" in stack.until("worker died")
    stack.until("worker is back")
    assert stack.pid("worker") != killed
    assert {name: stack.pid(name) for name in others} == others


def test_every_death_of_many_is_answered(run: Run) -> None:
    stack = run("redis=steady", "worker=steady")
    stack.until("READY")
    for _ in range(3):
        os.kill(stack.pid("worker"), signal.SIGKILL)
        stack.until("worker is back")
    assert stack.log().count("start worker") == 4


def test_what_a_dead_program_had_started_dies_with_it(run: Run) -> None:
    stack = run("redis=steady", "worker=parent")
    stack.until("READY")
    os.kill(stack.pid("worker"), signal.SIGKILL)
    stack.until("worker died")
    os.kill(stack.process.pid, signal.SIGTERM)

    assert stack.end() == 0
    assert freed(stack.folder / "offspring.lock")


def test_a_program_that_cannot_start_stops_everything_after_five_tries_with_its_last_lines(run: Run) -> None:
    stack = run("redis=steady", "worker=broken")

    assert stack.end() == 1
    text = "\n".join(stack.lines)
    assert len(re.findall("worker could not start \\(", text)) == 4
    assert re.search(r"worker could not start 5 times \(exit status 1\).*\n  first words of \d+\n  no such thing: \d+", text)
    assert stack.log() == ["start redis", "end redis"]


def test_a_wrong_setting_stops_everything_at_once_with_its_line_and_code_2(run: Run) -> None:
    stack = run("redis=steady", "worker=misconfigured")

    assert stack.end() == 2
    assert "  MLX_LOCAL_CATALOG: no such file" in stack.lines
    assert stack.log() == ["start redis", "end redis"]


def test_a_program_that_does_not_stop_is_killed_and_the_rest_still_drains(run: Run) -> None:
    stack = run("redis=steady", "worker=stubborn")
    stack.until("READY")
    os.kill(stack.process.pid, signal.SIGTERM)

    assert stack.end() == 1
    assert any(re.search("worker has not stopped after . s and is killed", line) for line in stack.lines)
    assert stack.log()[-1] == "end redis"


def test_a_second_ctrl_c_does_not_wait(run: Run, tmp_path: Path) -> None:
    stack = run("redis=steady", "api=stubborn", "worker=stubborn")
    stack.until("READY")
    stack.process.send_signal(signal.SIGINT)
    stack.until("Draining")
    while stack.process.poll() is None:
        stack.process.send_signal(signal.SIGINT)
        try:
            stack.process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    assert stack.end() == 1
    assert living(tmp_path) == {}


def test_when_the_supervisor_is_killed_its_programs_are_drained(run: Run) -> None:
    stack = run(*WHOLE)
    stack.until("READY")
    stack.process.kill()
    stack.process.wait()

    assert freed(stack.folder / "processes" / "guard.lock")  # held by the guard until its work is done
    assert living(stack.folder) == {}
    ends = [line for line in stack.log() if line.startswith("end")]
    assert ends[0] == "end worker"
    assert ends[-1] == "end redis"


def test_the_next_supervisor_waits_for_what_a_killed_one_left(run: Run) -> None:
    first = run(*WHOLE)
    first.until("READY")
    first.process.kill()
    first.process.wait()
    second = run(*WHOLE)
    second.until("READY")

    log = first.log()
    assert log.index("end redis") < len(log) - 1 - log[::-1].index("start redis")
    assert len([line for line in log if line.startswith("end")]) == 4


def test_a_guard_that_is_killed_is_replaced(run: Run) -> None:
    stack = run("redis=steady")
    stack.until("READY")
    os.kill(stack.pid("guard"), signal.SIGKILL)
    os.kill(stack.pid("redis"), signal.SIGKILL)
    stack.until("redis is back")
    stack.process.kill()
    stack.process.wait()

    assert freed(stack.folder / "processes" / "guard.lock")
    assert living(stack.folder) == {}


def test_programs_without_supervisor_and_guard_can_still_be_found_and_stopped(run: Run) -> None:
    stack = run(*WHOLE)
    stack.until("READY")
    os.killpg(stack.process.pid, signal.SIGSTOP)  # neither supervises nor dies: the programs are on their own
    told: list[str] = []
    stop_living(stack.folder, 60.0, say=told.append)

    assert set(living(stack.folder)) == {"guard"}
    assert [line.split()[1] for line in told] == ["worker", "api", "audio", "redis"]
