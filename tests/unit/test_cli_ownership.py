"""Who owns a home. The other party is always a real process, because a lock of one's own is no obstacle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.cli.ownership import claim_process, hold, home_owner, living, own_home, share_home
from app.cli.terminal import CommandError

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[Start]:
    """Start processes that evaluate an expression of :mod:`app.cli.ownership` and then live until killed."""
    started: list[subprocess.Popen[str]] = []

    def start(expression: str) -> subprocess.Popen[str]:
        program = (
            "import sys, pathlib; from app.cli.ownership import *\n"
            f"run = pathlib.Path({str(tmp_path)!r})\n{expression}\nprint('held', flush=True); sys.stdin.read()"
        )
        process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        with process:  # closes its pipes too
            process.kill()


def test_a_home_has_one_up_and_the_second_says_whose_it_is(tmp_path: Path, holding: Start) -> None:
    other = holding("own_home(run)")

    with pytest.raises(CommandError, match=f"another `mlx-local up` \\(process {other.pid}, since 20") as raised:
        own_home(tmp_path)

    assert raised.value.exit_code == 1
    owner = home_owner(tmp_path)
    assert owner is not None
    assert owner.pid == other.pid


def test_services_share_a_home_and_keep_up_out(tmp_path: Path, holding: Start) -> None:
    first = holding("share_home(run); claim_process(run, 'worker', None)")
    second = holding("share_home(run); claim_process(run, 'api', None)")

    with pytest.raises(CommandError, match=f"services: api \\(process {second.pid}.*worker \\(process {first.pid}"):
        own_home(tmp_path)
    assert home_owner(tmp_path) is None


def test_up_keeps_services_out(tmp_path: Path, holding: Start) -> None:
    other = holding("own_home(run)")

    with pytest.raises(CommandError, match=f"process {other.pid}"):
        share_home(tmp_path)


def test_a_killed_owner_leaves_nothing_behind(tmp_path: Path, holding: Start) -> None:
    other = holding("own_home(run)")
    other.kill()
    other.wait()

    assert home_owner(tmp_path) is None
    os.close(own_home(tmp_path))


def test_a_process_of_a_home_is_known_while_it_lives_and_no_longer(tmp_path: Path, holding: Start) -> None:
    other = holding("claim_process(run, 'worker', 42)")

    assert {name: (holder.pid, holder.supervisor) for name, holder in living(tmp_path).items()} == {"worker": (other.pid, 42)}
    other.kill()
    other.wait()
    assert living(tmp_path) == {}
    os.close(claim_process(tmp_path, "worker", None))


def test_a_lock_is_waited_for_as_long_as_asked(tmp_path: Path, holding: Start) -> None:
    other = holding("hold(run / 'x.lock')")

    assert hold(tmp_path / "x.lock") is None
    assert other.stdin is not None
    other.stdin.close()
    fd = hold(tmp_path / "x.lock", patience_s=30)
    assert fd is not None
    os.close(fd)


def test_looking_does_not_take(tmp_path: Path) -> None:
    fd = own_home(tmp_path)
    os.close(fd)

    assert home_owner(tmp_path) is None
    assert living(tmp_path) == {}
    os.close(own_home(tmp_path))
