"""What one recording or one folder does to the daemon concerns that one alone: odd names, folders that close while they are in use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon_process import DaemonProcess, until
from tests.transcript_server import TranscriptServer

_WITHOUT_RIGHTS = ("setpriv", "--inh-caps=-all", "--bounding-set=-all", "--securebits=+noroot") if os.geteuid() == 0 else ()
"""Root may look anywhere, unless it gives that up."""


@pytest.fixture
def server() -> Iterator[TranscriptServer]:
    with TranscriptServer().serving() as running:
        yield running


@pytest.fixture
def folder(private_folder: Path) -> Path:
    (private_folder / "in").mkdir()
    return private_folder / "in"


def test_a_name_that_is_no_utf_8_gets_its_results(private_folder: Path, folder: Path, server: TranscriptServer) -> None:
    recording = folder / os.fsdecode(b"caf\xe9.wav")
    try:
        recording.write_bytes(b"1")
    except OSError:
        pytest.skip("this file system takes no such name")
    (folder / os.fsdecode(b"no\xe9.wav")).write_bytes(b"deaf")
    with DaemonProcess(private_folder / "home", folder, server).running() as daemon:
        until((folder / "done" / recording.name).exists)
        until((folder / os.fsdecode(b"no\xe9_failed.md")).exists)
        until(lambda: {file["stage"] for file in daemon.state()["files"]} == {"failed"})
        assert daemon.state()["files"][0]["detail"]
        assert not daemon.ended()

    assert {os.fsencode(path.name) for path in folder.glob("caf*")} == {b"caf\xe9_raw.md", b"caf\xe9_corrected.md"}


def test_a_folder_that_closes_while_in_use_is_said_and_the_rest_goes_on(
    private_folder: Path, folder: Path, server: TranscriptServer
) -> None:
    private_folder.chmod(0o755)
    server.takes_s = 60
    (folder / "closed").mkdir()
    (folder / "closed" / "a.wav").write_bytes(b"1")
    daemon = DaemonProcess(private_folder / "home", folder, server, _WITHOUT_RIGHTS, TRANSCRIBE_RESCAN="0.3")
    with daemon.running():
        until(lambda: server.heard)
        (folder / "closed").chmod(0o600)  # its names can be read, and nothing else of what lies there
        until(lambda: "cannot be read (Permission denied)" in str(daemon.state()["folders"]))
        server.takes_s = 0
        server.finish()
        (folder / "b.wav").write_bytes(b"2")
        until((folder / "done" / "b.wav").exists)
        until(lambda: "Permission denied" in str(daemon.state()["files"]))
        (folder / "closed").chmod(0o700)
        until((folder / "done" / "closed" / "a.wav").exists)

    assert server.heard == {b"1": 1, b"2": 1}


def test_subtitles_that_were_edited_are_neither_written_over_nor_removed(
    private_folder: Path, folder: Path, server: TranscriptServer
) -> None:
    (folder / ".transcribe.toml").write_text("srt = true\nkeep_in_place = true")
    (folder / "a.wav").write_bytes(b"1")
    with DaemonProcess(private_folder / "home", folder, server, TRANSCRIBE_RESCAN="0.3").running() as daemon:
        until(lambda: "recording.finished" in daemon.log)
        (folder / "a_raw.srt").write_text("mine")
        (folder / ".transcribe.toml").write_text('srt = true\nlanguage = "yue"')
        (folder / "a.wav").write_bytes(b"1")  # another time, and so to be looked at again
        until((folder / "done" / "a.wav").exists)

    assert (folder / "a_raw.srt").read_text() == "mine"
    assert (folder / "a.wav_raw.srt").exists()


def test_subtitles_that_are_asked_for_later_are_made_once_of_what_is_remembered(
    private_folder: Path, folder: Path, server: TranscriptServer
) -> None:
    (folder / ".transcribe.toml").write_text("keep_in_place = true")
    (folder / "a.wav").write_bytes(b"1")
    with DaemonProcess(private_folder / "home", folder, server, TRANSCRIBE_RESCAN="0.3").running() as daemon:
        until((folder / "a_corrected.md").exists)
        (folder / ".transcribe.toml").write_text("keep_in_place = true\nsrt = true")
        until((folder / "a_raw.srt").exists)
        (folder / "a_raw.srt").unlink()
        (folder / ".transcribe.toml").write_text("keep_in_place = true\nsrt = true\nvtt = true")
        until((folder / "a_raw.vtt").exists)

    assert not (folder / "a_raw.srt").exists()
    assert (folder / "a_raw.vtt").read_text().startswith("WEBVTT")
    assert daemon.log.count("recording.finished") == 1
    assert server.heard == {b"1": 1}


@pytest.mark.parametrize("meanwhile", ["replaced", "renamed", "deleted"])
def test_what_was_heard_before_a_failed_correction_goes_with_its_recording(
    private_folder: Path, folder: Path, server: TranscriptServer, meanwhile: str
) -> None:
    recording = folder / "a.wav"
    recording.write_bytes(b"mute")
    with DaemonProcess(private_folder / "home", folder, server, TRANSCRIBE_RESCAN="0.3").running():
        until((folder / "a_failed.md").exists)
        assert (folder / "a_raw.md").exists()
        if meanwhile == "replaced":
            (private_folder / "new").write_bytes(b"another")
            (private_folder / "new").replace(recording)
            until((folder / "done" / "a.wav").exists)
        elif meanwhile == "renamed":
            recording.rename(folder / "b.wav")
            until((folder / "b_failed.md").exists)
        else:
            recording.unlink()
        left = {"replaced": {"a_raw.md", "a_corrected.md"}, "renamed": {"b_raw.md", "b_failed.md"}, "deleted": set()}[meanwhile]
        until(lambda: {path.name for path in folder.glob("*.md")} == left, lambda: sorted(folder.iterdir()))
