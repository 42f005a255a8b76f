"""``mlx-local logs``: merged by time, followed through rotations."""

from __future__ import annotations

import json
import logging.handlers
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.cli.log_files import LogFile
from app.settings import Settings, load_settings
from tests.integration.command import COMMAND, environment, mlx_local
from tests.integration.terminal import on_terminal


def line(second: int, event: str, **facts: object) -> str:
    return json.dumps({"event": event, **facts, "logger": "x", "level": "info", "timestamp": f"2026-01-02T03:04:{second:02d}Z"})


@pytest.fixture
def home(private_folder: Path) -> Settings:
    """A home with logs of three processes."""
    settings = load_settings(home=private_folder / "home", profile="starter")
    settings.logs_dir.mkdir(parents=True)
    (settings.logs_dir / "server.log").write_text(line(1, "first", job="job_1") + "\n" + line(4, "fourth") + "\n")
    moment = datetime(2026, 1, 2, 3, 4, 3, tzinfo=UTC).astimezone()
    (settings.logs_dir / "redis.log").write_text(f"17:M {moment:%d} Jan {moment:%Y %H:%M:%S}.250 # third\nno time of its own\n")
    (settings.logs_dir / "worker.log").write_text(line(2, "second") + "\n")
    return settings


def events(text: str) -> list[str]:
    return [json.loads(each)["event"] for each in text.splitlines()]


def test_all_logs_are_one_in_the_order_of_time(home: Settings) -> None:
    assert events(mlx_local(home, "logs", "--json").stdout) == ["first", "second", "third", "no time of its own", "fourth"]
    assert events(mlx_local(home, "logs", "--json", "-n", "2").stdout) == ["no time of its own", "fourth"]
    assert events(mlx_local(home, "logs", "--json", "server").stdout) == ["first", "fourth"]
    assert mlx_local(home, "logs", "-n", "0").stdout == ""


def test_people_get_plain_lines(home: Settings) -> None:
    lines = mlx_local(home, "logs").stdout.splitlines()

    assert lines[0].split()[2:] == ["info", "server", "first", "job=job_1"]
    assert lines[2].split()[1:] == [lines[2].split()[1], "warning", "redis", "third"]
    assert lines[2].split()[1].endswith(":03.250")


def test_what_was_logged_cannot_steer_the_terminal(home: Settings) -> None:
    (home.logs_dir / "worker.log").write_text(line(2, "evil \x1b[2J[red]\nline", more="\x9b") + "\n")
    shown = mlx_local(home, "logs", "worker").stdout

    assert shown.count("\n") == 1
    assert "[red]\\nline more=\\u009b" in shown
    assert "\x1b" not in shown


def test_an_exception_is_told_with_its_place(home: Settings) -> None:
    frames = [{"filename": "a.py", "lineno": 1, "name": "f"}, {"filename": "b.py", "lineno": 2, "name": "g"}]
    exception = [{"exc_type": "ValueError", "exc_value": "no", "frames": frames}]
    (home.logs_dir / "worker.log").write_text(line(2, "failed", exception=exception) + "\n")

    assert mlx_local(home, "logs", "worker").stdout.splitlines()[1].strip() == "ValueError: no (b.py:2 in g)"


def test_lines_of_rotated_files_count_too(home: Settings) -> None:
    log = home.logs_dir / "worker.log"
    log.with_name("worker.log.1").write_text("".join(line(1, f"old {n}") + "\n" for n in range(3000)))
    log.with_name("worker.log.2").write_text(line(0, "older") + "\n")

    assert events(mlx_local(home, "logs", "worker", "--json", "-n", "3").stdout) == ["old 2998", "old 2999", "second"]
    assert events(mlx_local(home, "logs", "worker", "--json", "-n", "9999").stdout)[:2] == ["older", "old 0"]


def test_a_home_without_logs_is_a_sentence(private_folder: Path) -> None:
    done = mlx_local(load_settings(home=private_folder / "home"), "logs")

    assert done.returncode == 3
    assert "There is no log" in done.stderr
    assert mlx_local(load_settings(home=private_folder / "home"), "logs", "nobody").returncode == 2


@pytest.fixture
def rotating(home: Settings) -> Iterator[logging.Handler]:
    """The writer of worker.log, which rotates at about every second line."""
    handler = logging.handlers.RotatingFileHandler(home.logs_dir / "worker.log", maxBytes=200, backupCount=5)
    yield handler
    handler.close()


def write(handler: logging.Handler, text: str) -> None:
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, text, None, None))


def test_following_sees_every_line_across_rotations(home: Settings, rotating: logging.Handler) -> None:
    file = LogFile("worker", home.logs_dir / "worker.log")
    assert [each.facts["event"] for each in file.tail(10)] == ["second"]
    seen = []
    for n in range(20):
        write(rotating, line(n, f"event {n}"))
        if n % 2:
            seen += [each.facts["event"] for each in file.grown()]
    assert seen == [f"event {n}" for n in range(20)]
    file.close()


def test_a_line_is_read_when_it_is_whole_and_a_log_when_it_is_there(private_folder: Path) -> None:
    path = private_folder / "worker.log"
    file = LogFile("worker", path)
    assert file.tail(10) == file.grown() == []
    whole = line(1, "Grüße")
    with path.open("wb", buffering=0) as writer:
        writer.write(whole.encode()[:14])
        assert file.grown() == []
        writer.write(whole.encode()[14:] + b"\n")
        assert [each.facts["event"] for each in file.grown()] == ["Grüße"]
        writer.truncate(0)
        writer.seek(0)
        writer.write(line(2, "x").encode() + b"\n")
        assert [each.facts["event"] for each in file.grown()] == ["x"]
    file.close()


def test_the_command_follows_until_ctrl_c(home: Settings, rotating: logging.Handler) -> None:
    command = [*COMMAND, "logs", "-f", "--json", "-n", "1"]
    with subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, text=True) as follow:
        assert follow.stdout is not None
        assert events(follow.stdout.readline()) == ["fourth"]
        write(rotating, line(5, "fifth"))
        assert events(follow.stdout.readline()) == ["fifth"]
        (home.logs_dir / "mlx-audio-server.err.log").write_text(line(6, "a new log") + "\n")
        assert events(follow.stdout.readline()) == ["a new log"]
        follow.terminate()
    with on_terminal(home, "logs", "-f") as screen:
        screen.read_until("fifth")
        screen.type("\x03")
        assert screen.end() == 130
