"""What the system may do to the transcribe folder: it is said, the daemon goes on, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon_process import DaemonProcess, results_of, until
from tests.transcript_server import TranscriptServer

_APART = ("unshare", "--user", "--map-root-user", "--mount")
"""In namespaces of its own a process may set limits and mount disks that are nobody else's."""


def may_be_apart() -> bool:
    return shutil.which("unshare") is not None and subprocess.run([*_APART, "true"], capture_output=True, check=False).returncode == 0


apart = pytest.mark.skipif(not may_be_apart(), reason="this system lets nobody have namespaces")


@pytest.fixture
def server() -> Iterator[TranscriptServer]:
    with TranscriptServer().serving() as running:
        yield running


@pytest.fixture
def folder(private_folder: Path) -> Path:
    (private_folder / "in").mkdir()
    return private_folder / "in"


def after(preparation: str) -> tuple[str, ...]:
    """Return what runs a command in namespaces of its own, after *preparation*."""
    return (*_APART, "sh", "-c", f'{preparation} && exec "$@"', "sh")


def troubles(daemon: DaemonProcess) -> str:
    state = daemon.state()
    return json.dumps([state.get("api"), state.get("folders"), [file["detail"] for file in state.get("files", ())]])


@apart
def test_without_events_the_folder_is_looked_at_now_and_then(private_folder: Path, folder: Path, server: TranscriptServer) -> None:
    wrapper = after("echo 0 > /proc/sys/user/max_inotify_instances")
    daemon = DaemonProcess(private_folder / "home", folder, server, wrapper, TRANSCRIBE_RESCAN="0.3")
    with daemon.running():
        until(lambda: "max_user_instances" in troubles(daemon))
        (folder / "a.wav").write_bytes(b"1")
        until((folder / "done" / "a.wav").exists)
        shown = daemon.command("status").stdout

    assert "does not tell of changes" in shown
    assert "folder.trouble" in daemon.log


@apart
def test_a_limit_that_is_reached_in_silence_is_noticed(private_folder: Path, folder: Path, server: TranscriptServer) -> None:
    wrapper = after("echo 2 > /proc/sys/user/max_inotify_watches")
    folders = [folder / "one", folder / "other"]  # the folder itself, and one of these, can be watched
    for each in folders:
        each.mkdir()
    daemon = DaemonProcess(private_folder / "home", folder, server, wrapper, TRANSCRIBE_RESCAN="0.3")
    with daemon.running():
        for number in range(3):
            for each in folders:
                (each / f"{number}.wav").write_bytes(f"{each.name} {number}".encode())
                until((folder / "done" / each.name / f"{number}.wav").exists)
        until(lambda: "max_user_watches" in troubles(daemon))

    assert set(server.heard.values()) == {1}


@apart
def test_a_full_disk_is_waited_for_with_the_text_kept(private_folder: Path, folder: Path, server: TranscriptServer) -> None:
    # A disk of a few pages that somebody else has filled, until a file appears on which it is emptied.
    ballast, free = folder / "ballast", private_folder / "free"
    fill = f"mount -t tmpfs -o size=64k disk '{folder}' && printf heard > '{folder}/a.wav'; cat /dev/zero > '{ballast}' 2>/dev/null"
    empty = f"(until test -e '{free}'; do sleep 0.05; done; rm '{ballast}')"
    daemon = DaemonProcess(private_folder / "home", folder, server, after(f"{{ {fill}; {empty} & }}"), TRANSCRIBE_RESCAN="0.3")
    with daemon.running():
        until(lambda: "No space left" in troubles(daemon))
        assert server.heard == {b"heard": 1}
        free.touch()
        until(lambda: "recording.finished" in daemon.log)

    assert server.heard == {b"heard": 1}


def test_a_folder_without_permission_is_said_and_goes_on_when_it_may(private_folder: Path, folder: Path, server: TranscriptServer) -> None:
    private_folder.chmod(0o755)
    if os.geteuid() == 0:  # root may write anywhere
        wrapper: tuple[str, ...] = ("setpriv", "--inh-caps=-all", "--bounding-set=-all", "--securebits=+noroot")
    else:
        wrapper = ()
    (folder / "a.wav").write_bytes(b"1")
    (folder / "locked").mkdir()
    (folder / "locked" / "b.wav").write_bytes(b"2")
    (folder / "locked").chmod(0o000)
    folder.chmod(0o555)
    with DaemonProcess(private_folder / "home", folder, server, wrapper, TRANSCRIBE_RESCAN="0.3").running() as daemon:
        until(lambda: troubles(daemon).count("Permission denied") == 2)
        assert server.heard == {b"1": 1}
        folder.chmod(0o755)
        (folder / "locked").chmod(0o755)
        until(lambda: (folder / "done" / "a.wav").exists() and (folder / "done" / "locked" / "b.wav").exists())

    assert server.heard == {b"1": 1, b"2": 1}


def test_a_folder_that_was_renamed_or_deleted_is_missed_at_once_and_made_again(
    private_folder: Path, folder: Path, server: TranscriptServer
) -> None:
    with DaemonProcess(private_folder / "home", folder, server, TRANSCRIBE_RESCAN="600").running() as daemon:
        server.takes_s = 60
        (folder / "a.wav").write_bytes(b"1")
        until(lambda: server.heard)
        folder.rename(private_folder / "other")
        until(folder.exists)
        until(lambda: daemon.state()["files"] == [])
        shutil.rmtree(folder)
        until(folder.exists)
        server.takes_s = 0
        (folder / "b.wav").write_bytes(b"2")
        until((folder / "done" / "b.wav").exists)


def test_a_defect_that_one_recording_brings_out_is_told_and_the_others_go_on(
    private_folder: Path, folder: Path, server: TranscriptServer
) -> None:
    server.bends = True
    (folder / "a.wav").write_bytes(b"bent")
    with DaemonProcess(private_folder / "home", folder, server).running() as daemon:
        until(lambda: "internal error (RecursionError" in troubles(daemon))
        (folder / "b.wav").write_bytes(b"2")
        until((folder / "done" / "b.wav").exists)
        server.bends = False
        until((folder / "done" / "a.wav").exists)

    (defect,) = [json.loads(line) for line in daemon.log.splitlines() if "flight.defect" in line]
    assert "RecursionError" in str(defect["exception"])
    assert "daemon.failed" not in daemon.log


def test_a_disk_that_was_unplugged_is_waited_for_and_its_jobs_go_on(private_folder: Path, server: TranscriptServer) -> None:
    disk = private_folder / "disk"
    (disk / "in").mkdir(parents=True)
    (disk / "in" / "a.wav").write_bytes(b"1")
    server.takes_s = 60
    with DaemonProcess(private_folder / "home", disk / "in", server, TRANSCRIBE_RESCAN="0.3").running() as daemon:
        until(lambda: server.heard)
        disk.rename(private_folder / "pocket")
        until(lambda: "cannot be read" in troubles(daemon))
        server.finish()
        assert not disk.exists()
        (private_folder / "pocket").rename(disk)
        until((disk / "in" / "done" / "a.wav").exists)

    assert server.heard == {b"1": 1}
    assert results_of(disk / "in").keys() == {"a_raw.md", "a_corrected.md"}


def test_settings_that_cannot_be_used_are_told_once_and_what_they_said_before_holds(
    private_folder: Path, folder: Path, server: TranscriptServer
) -> None:
    (folder / ".transcribe.toml").write_text('language = "yue"')
    with DaemonProcess(private_folder / "home", folder, server).running() as daemon:
        (folder / "a.wav").write_bytes(b"1")
        until((folder / "done" / "a.wav").exists)
        (folder / ".transcribe.toml").write_text('langauge = "yue"')
        for number in range(2, 4):
            (folder / f"{number}.wav").write_bytes(b"%d" % number)
            until((folder / "done" / f"{number}.wav").exists)
        until(lambda: "langauge: there is no such setting" in troubles(daemon))

    assert {job.request["language"] for job in server.jobs.values()} == {"yue"}
    assert daemon.log.count("there is no such setting") == 1


def test_a_memory_that_is_damaged_is_put_aside(private_folder: Path, folder: Path, server: TranscriptServer) -> None:
    daemon = DaemonProcess(private_folder / "home", folder, server)
    ledger = daemon.home / "transcribe" / "ledger.sqlite3"
    ledger.parent.mkdir(parents=True)
    ledger.write_bytes(b"this is no database" * 1000)
    with daemon.running():
        (folder / "a.wav").write_bytes(b"1")
        until((folder / "done" / "a.wav").exists)

    assert ledger.with_name("damaged-ledger.sqlite3").exists()
    assert "ledger.put_aside" in daemon.log
    with sqlite3.connect(ledger) as db:
        assert db.execute("SELECT count(*) FROM outputs").fetchone() == (1,)


def test_a_wrong_key_is_waited_with_and_said(private_folder: Path, folder: Path, server: TranscriptServer) -> None:
    server.key = "right"
    (folder / "a.wav").write_bytes(b"1")
    with DaemonProcess(private_folder / "home", folder, server, API_KEY="wrong").running() as daemon:
        until(lambda: "MLX_LOCAL_API_KEY" in troubles(daemon))
        server.key = "wrong"
        until((folder / "done" / "a.wav").exists)


def test_jobs_that_the_server_forgot_are_submitted_again(private_folder: Path, folder: Path, server: TranscriptServer) -> None:
    server.takes_s = 60
    (folder / "a.wav").write_bytes(b"1")
    with DaemonProcess(private_folder / "home", folder, server).running():
        until(lambda: server.jobs)
        server.jobs.clear()
        server.takes_s = 0
        until((folder / "done" / "a.wav").exists)

    assert server.heard == {b"1": 2}


def test_what_status_and_logs_show_of_the_daemon(private_folder: Path, folder: Path, server: TranscriptServer) -> None:
    server.takes_s = 60
    (folder / "a.wav").write_bytes(b"1")
    (folder / "b.wav").write_bytes(b"deaf")
    with DaemonProcess(private_folder / "home", folder, server).running() as daemon:
        until(lambda: len(server.jobs) == 2)
        server.jobs[next(job.id for job in server.jobs.values() if job.content == b"deaf")].ends_at = 0
        until(lambda: {file["stage"] for file in daemon.state()["files"]} == {"transcribing", "failed"})
        told = json.loads(daemon.command("status", "--json").stdout)
        shown = daemon.command("status").stdout
        second = daemon.command("daemon")

    assert told["processes"]["daemon"]["pid"] == told["recordings"]["pid"]
    assert f"{folder}: 1 in work, 1 failed" in shown
    assert "a.wav: transcribing, 1 of 2 seconds, job_" in shown
    assert "Another `daemon`" in second.stderr
    assert "recording.failed" in daemon.command("logs", "daemon").stdout
    assert daemon.command("daemon", MLX_LOCAL_TRANSCRIBE_SETTLE="soon").stderr.startswith("MLX_LOCAL_TRANSCRIBE_SETTLE: ")
