"""What was heard lies beside its recording while it is still being corrected, and shares the recording's fate."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.daemon_process import DaemonProcess, results_of, until
from tests.transcript_server import TranscriptServer, heard_of, mended_of


@pytest.fixture
def server() -> Iterator[TranscriptServer]:
    with TranscriptServer(takes_s=60).serving() as running:
        yield running


@pytest.fixture
def daemon(private_folder: Path, server: TranscriptServer) -> Iterator[DaemonProcess]:
    (private_folder / "in").mkdir()
    with DaemonProcess(private_folder / "home", private_folder / "in", server, TRANSCRIBE_RESCAN="0.3").running() as running:
        yield running


def text_of(result: Path) -> str:
    return result.read_text().split("---\n", 2)[2].strip()


def names(daemon: DaemonProcess) -> set[str]:
    return {path.name for path in daemon.folder.glob("*_*")}


def heard(daemon: DaemonProcess, server: TranscriptServer, content: bytes = b"talk") -> None:
    """Drop ``a.wav``, and return once it is being corrected."""
    (daemon.folder / "a.wav").write_bytes(content)
    until(lambda: server.heard[content])
    server.hear()
    until(lambda: {file["stage"] for file in daemon.state()["files"]} == {"correcting"}, daemon.state)


def test_what_was_heard_is_written_before_it_is_corrected_and_what_is_made_of_it_stays(
    daemon: DaemonProcess, server: TranscriptServer
) -> None:
    (daemon.folder / ".transcribe.toml").write_text("srt = true")
    (daemon.folder / "b.wav").write_bytes(b"talk")
    heard(daemon, server)
    until(lambda: {"a_raw.md", "a_raw.srt", "b_raw.md", "b_raw.srt"} == names(daemon), lambda: names(daemon))
    before = (daemon.folder / "b_raw.md").read_bytes()
    head = yaml.safe_load((daemon.folder / "a_raw.md").read_text().split("---\n")[1])
    with (daemon.folder / "a_raw.md").open("a") as file:
        file.write("a note of mine\n")
    daemon.kill()
    daemon.start()
    server.finish()
    until(lambda: {path.name for path in (daemon.folder / "done").glob("*")} == {"a.wav", "b.wav"})

    assert (head["language"], head["models"], head["job"]) == ("en", ["ears"], next(iter(server.jobs)))
    assert text_of(daemon.folder / "a_raw.md") == f"{heard_of(b'talk')}\na note of mine"
    assert text_of(daemon.folder / "a_corrected.md") == mended_of(b"talk")
    assert (daemon.folder / "b_raw.md").read_bytes() == before
    assert sorted(names(daemon)) == ["a_corrected.md", "a_raw.md", "a_raw.srt", "b_corrected.md", "b_raw.md", "b_raw.srt"]
    copies = [{results_of(daemon.folder)[f"{stem}_{half}.md"].get("duplicate_of") for half in ("raw", "corrected")} for stem in "ab"]
    assert sorted(copies, key=str) in ([{"a.wav"}, {None}], [{"b.wav"}, {None}])
    assert server.heard == {b"talk": 1}


@pytest.mark.parametrize("meanwhile", ["replaced", "renamed", "deleted"])
def test_half_a_pair_goes_with_its_recording_whatever_else_is_not_known_yet(
    daemon: DaemonProcess, server: TranscriptServer, meanwhile: str
) -> None:
    heard(daemon, server)
    recording = daemon.folder / "a.wav"
    with (daemon.folder / "slow.wav").open("wb") as slow:
        slow.write(b"begun")
        slow.flush()
        until(lambda: any("for writing" in (file["detail"] or "") for file in daemon.state()["files"]))
        if meanwhile == "replaced":
            (daemon.folder.parent / "new").write_bytes(b"another")
            (daemon.folder.parent / "new").replace(recording)
        elif meanwhile == "renamed":
            recording.rename(daemon.folder / "b.wav")
        else:
            recording.unlink()
        left = {"b_raw.md"} if meanwhile == "renamed" else set()
        until(lambda: names(daemon) == left, lambda: names(daemon))


def test_a_pair_stays_whole_until_there_is_another(daemon: DaemonProcess, server: TranscriptServer) -> None:
    heard(daemon, server)
    server.finish()
    until((daemon.folder / "done" / "a.wav").exists)
    first = results_of(daemon.folder)
    (daemon.folder / "dict.txt").write_text("Cheung")
    server.heard.clear()
    server.takes_s = 60
    heard(daemon, server)
    meanwhile = results_of(daemon.folder)
    server.finish()
    until((daemon.folder / "done" / "a (2).wav").exists)

    assert meanwhile == first
    assert len({head["identity"] for head in results_of(daemon.folder).values()} - {first["a_raw.md"]["identity"]}) == 1


def test_half_a_pair_is_not_taken_for_all_by_a_daemon_without_memory(daemon: DaemonProcess, server: TranscriptServer) -> None:
    (daemon.folder / ".transcribe.toml").write_text("keep_in_place = true")
    heard(daemon, server)
    daemon.kill()
    shutil.rmtree(daemon.home / "transcribe")
    daemon.start()
    server.finish()
    until((daemon.folder / "a_corrected.md").exists)

    assert server.heard == {b"talk": 1}


def test_a_job_that_is_cancelled_or_lost_while_it_corrects_leaves_what_was_heard(daemon: DaemonProcess, server: TranscriptServer) -> None:
    heard(daemon, server)
    next(iter(server.jobs.values())).canceled = True
    until((daemon.folder / "a_failed.md").exists)
    failed = results_of(daemon.folder)
    server.jobs.clear()
    server.takes_s = 0
    (daemon.folder / "a_failed.md").unlink()
    until((daemon.folder / "done" / "a.wav").exists)

    assert (failed["a_failed.md"]["failed"], failed["a_raw.md"]["result"]) == ("correct", "raw")
    assert {head["job"] for head in results_of(daemon.folder).values()} == {next(iter(server.jobs))}
