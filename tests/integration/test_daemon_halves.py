"""What was heard lies beside its recording while it is still being corrected, and shares the recording's fate.

One daemon serves all tests, each with a folder of its own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.daemon_process import DaemonProcess, results_of, until
from tests.transcript_server import TranscriptServer, heard_of, mended_of


@pytest.fixture(scope="module")
def server() -> Iterator[TranscriptServer]:
    with TranscriptServer(takes_s=60).serving() as running:
        yield running


@pytest.fixture(scope="module")
def daemon(server: TranscriptServer) -> Iterator[DaemonProcess]:
    place = Path(tempfile.mkdtemp(prefix="mlx-"))
    (place / "in").mkdir()
    with DaemonProcess(place / "home", place / "in", server, TRANSCRIBE_RESCAN="0.3").running() as running:
        yield running
    shutil.rmtree(place)


@pytest.fixture
def folder(daemon: DaemonProcess, request: pytest.FixtureRequest) -> Path:
    folder = daemon.folder / str(request.node.name)
    folder.mkdir()
    return folder


def text_of(result: Path) -> str:
    return result.read_text().split("---\n", 2)[2].strip()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*_*")}


def archived(daemon: DaemonProcess, folder: Path) -> set[str]:
    return {path.name for path in (daemon.folder / "done" / folder.name).glob("*")}


def heard(daemon: DaemonProcess, server: TranscriptServer, folder: Path, *recordings: str) -> None:
    """Drop recordings that say their own names, and return once all are being corrected."""
    server.takes_s = 60
    for name in recordings:
        (folder / name).write_bytes(name.encode() + folder.name.encode())

    def stages() -> set[str]:
        return {file["stage"] for file in daemon.state()["files"] if file["path"].startswith(str(folder))}

    def corrects() -> bool:
        server.hear()
        return stages() == {"correcting"}

    until(corrects, daemon.state)


def test_what_was_heard_is_written_before_it_is_corrected_and_an_edit_stays(
    daemon: DaemonProcess, server: TranscriptServer, folder: Path
) -> None:
    (folder / ".transcribe.toml").write_text("srt = true")
    (folder / "copy.wav").write_bytes(said := f"a.wav{folder.name}".encode())
    heard(daemon, server, folder, "a.wav")
    until(lambda: {"a_raw.md", "a_raw.srt", "copy_raw.md", "copy_raw.srt"} == names(folder), lambda: names(folder))
    before = (folder / "copy_raw.md").read_bytes()
    head = yaml.safe_load((folder / "a_raw.md").read_text().split("---\n")[1])
    with (folder / "a_raw.md").open("a") as file:
        file.write("a note of mine\n")
    daemon.kill()
    daemon.start()
    server.finish()
    until(lambda: archived(daemon, folder) == {"a.wav", "copy.wav"})

    assert (head["language"], head["models"], head["job"] in server.jobs) == ("en", ["ears"], True)
    assert text_of(folder / "a_raw.md") == f"{heard_of(said)}\na note of mine"
    assert text_of(folder / "a_corrected.md") == mended_of(said)
    assert (folder / "copy_raw.md").read_bytes() == before
    copies = [{results_of(folder)[f"{stem}_{half}.md"].get("duplicate_of") for half in ("raw", "corrected")} for stem in ("a", "copy")]
    assert copies in ([{f"{folder.name}/copy.wav"}, {None}], [{None}, {f"{folder.name}/a.wav"}])
    assert server.heard[said] == 1


def test_half_a_pair_goes_with_its_recording_whatever_else_is_not_known_yet(
    daemon: DaemonProcess, server: TranscriptServer, folder: Path
) -> None:
    heard(daemon, server, folder, "replaced.wav", "renamed.wav", "deleted.wav")
    with (folder / "slow.wav").open("wb") as slow:
        slow.write(b"begun")
        slow.flush()
        until(lambda: any("for writing" in (file["detail"] or "") for file in daemon.state()["files"]))
        (folder.parent / "new").write_bytes(b"another")
        (folder.parent / "new").replace(folder / "replaced.wav")
        (folder / "renamed.wav").rename(folder / "new-name.wav")
        (folder / "deleted.wav").unlink()
        until(lambda: names(folder) == {"new-name_raw.md"}, lambda: names(folder))


def test_a_pair_stays_whole_until_there_is_another(daemon: DaemonProcess, server: TranscriptServer, folder: Path) -> None:
    heard(daemon, server, folder, "a.wav")
    server.finish()
    until(lambda: archived(daemon, folder) == {"a.wav"})
    first = results_of(folder)
    (folder / ".transcribe.toml").write_text('language = "de"')
    heard(daemon, server, folder, "a.wav")
    meanwhile = results_of(folder)
    server.finish()
    until(lambda: archived(daemon, folder) == {"a.wav", "a (2).wav"})

    assert meanwhile == first
    assert len({head["identity"] for head in results_of(folder).values()} - {first["a_raw.md"]["identity"]}) == 1


def test_a_job_that_is_cancelled_or_lost_while_it_corrects_leaves_what_was_heard(
    daemon: DaemonProcess, server: TranscriptServer, folder: Path
) -> None:
    heard(daemon, server, folder, "a.wav")
    list(server.jobs.values())[-1].canceled = True
    until((folder / "a_failed.md").exists)
    failed = results_of(folder)
    server.jobs.clear()
    server.takes_s = 0
    (folder / "a_failed.md").unlink()
    until(lambda: archived(daemon, folder) == {"a.wav"})

    assert (failed["a_failed.md"]["failed"], failed["a_raw.md"]["result"]) == ("correct", "raw")
    assert failed["a_raw.md"]["job"] != results_of(folder)["a_raw.md"]["job"] == results_of(folder)["a_corrected.md"]["job"]


def test_half_a_pair_is_not_taken_for_all_by_a_daemon_without_memory(daemon: DaemonProcess, server: TranscriptServer, folder: Path) -> None:
    (folder / ".transcribe.toml").write_text("keep_in_place = true")
    heard(daemon, server, folder, "a.wav")
    daemon.kill()
    shutil.rmtree(daemon.home / "transcribe")
    daemon.start()
    server.finish()
    until((folder / "a_corrected.md").exists)

    assert server.heard[f"a.wav{folder.name}".encode()] == 1
