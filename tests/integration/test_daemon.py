"""The transcribe folder, as users see it: the real daemon, real files, and a stand-in for the API that counts what it hears."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemon_process import DaemonProcess, results_of, until
from tests.transcript_server import TranscriptServer, heard_of, mended_of


@pytest.fixture
def server() -> Iterator[TranscriptServer]:
    with TranscriptServer().serving() as running:
        yield running


@pytest.fixture
def daemon(private_folder: Path, server: TranscriptServer) -> Iterator[DaemonProcess]:
    (private_folder / "in").mkdir()
    with DaemonProcess(private_folder / "home", private_folder / "in", server).running() as running:
        yield running


def drop(daemon: DaemonProcess, name: str, content: bytes) -> Path:
    """Drop a recording as a careful program does: under another name, then renamed into place."""
    path = daemon.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{hashlib.sha256(path.name.encode()).hexdigest()[:8]}.download")
    part.write_bytes(content)
    part.rename(path)
    return path


def archived(daemon: DaemonProcess, *names: str) -> None:
    until(lambda: all((daemon.folder / "done" / name).exists() for name in names), daemon.state)


def archive(daemon: DaemonProcess) -> list[bytes]:
    return sorted(path.read_bytes() for path in (daemon.folder / "done").glob("*.*"))


def bodies(folder: Path) -> dict[str, str]:
    """Return the texts of the results without their heads."""
    return {name: (folder / name).read_text().split("---\n", 2)[2].strip() for name in results_of(folder)}


def test_a_dropped_recording_becomes_a_pair_and_is_archived(daemon: DaemonProcess, server: TranscriptServer) -> None:
    drop(daemon, "Interview mit Jürgen.wav", b"one")
    drop(daemon, "會議/第一 次.m4a", b"two")
    archived(daemon, "Interview mit Jürgen.wav", "會議/第一 次.m4a")

    assert bodies(daemon.folder) == {
        "Interview mit Jürgen_raw.md": heard_of(b"one"),
        "Interview mit Jürgen_corrected.md": mended_of(b"one"),
        "會議/第一 次_raw.md": heard_of(b"two"),
        "會議/第一 次_corrected.md": mended_of(b"two"),
    }
    head = results_of(daemon.folder)["會議/第一 次_corrected.md"]
    assert head.items() >= {"source": "第一 次.m4a", "language": "en", "corrected_pieces": "1/1", "duration": "0:00:01"}.items()
    assert head["sha256"] == hashlib.sha256(b"two").hexdigest()
    assert head["job"] in server.jobs


def test_names_that_clash_all_get_results_of_their_own(daemon: DaemonProcess) -> None:
    contents = {"a.wav": b"1", "a.mp3": b"2", "A.wav": b"3"}
    (daemon.folder / "b_raw.md").write_text("somebody else's")
    for name, content in {**contents, "b.ogg": b"4"}.items():
        drop(daemon, name, content)
    until(lambda: archive(daemon) == [b"1", b"2", b"3", b"4"])
    drop(daemon, "a.wav", b"5")
    until(lambda: archive(daemon) == [b"1", b"2", b"3", b"4", b"5"])

    pairs = {(head["source"], head["sha256"]) for head in results_of(daemon.folder).values()}
    assert pairs == {(name, hashlib.sha256(content).hexdigest()) for name, content in {**contents, "b.ogg": b"4"}.items()} | {
        ("a.wav", hashlib.sha256(b"5").hexdigest())
    }
    assert len(results_of(daemon.folder)) == 10
    assert len({name.casefold() for name in results_of(daemon.folder)}) == 10
    assert (daemon.folder / "b_raw.md").read_text() == "somebody else's"


def test_a_name_of_the_greatest_length_is_shortened_for_its_results(daemon: DaemonProcess) -> None:
    first, second = "長" * 80 + "an.wav", "長" * 80 + "am.wav"
    drop(daemon, first, b"one")
    drop(daemon, second, b"two")
    archived(daemon, first, second)

    heads = results_of(daemon.folder)
    assert sorted(head["source"] for head in heads.values()) == sorted([first, first, second, second])
    assert all(len(os.fsencode(name)) <= 255 and name.startswith("長" * 70) for name in heads)


def test_a_copy_gets_a_pair_of_its_own_without_being_heard_again(daemon: DaemonProcess, server: TranscriptServer) -> None:
    server.uncertain = ["Wang"]
    drop(daemon, "a.wav", b"same")
    archived(daemon, "a.wav")
    drop(daemon, "talks/b.wav", b"same")
    archived(daemon, "talks/b.wav")

    assert server.heard == {b"same": 1}
    assert results_of(daemon.folder)["talks/b_corrected.md"]["duplicate_of"] == "a.wav"
    assert "duplicate_of" not in results_of(daemon.folder)["a_corrected.md"]


def test_a_copy_needs_no_memory_of_the_first_but_the_servers(daemon: DaemonProcess, server: TranscriptServer) -> None:
    drop(daemon, "a.wav", b"same")
    archived(daemon, "a.wav")
    daemon.kill()
    shutil.rmtree(daemon.home / "transcribe")
    daemon.start()
    drop(daemon, "b.wav", b"same")
    archived(daemon, "b.wav")

    assert server.heard == {b"same": 1}


def test_a_file_is_left_alone_while_somebody_writes_it(daemon: DaemonProcess, server: TranscriptServer) -> None:
    with (daemon.folder / "slow.wav").open("wb") as slow:
        slow.write(b"begun ")
        slow.flush()
        until(lambda: any("for writing" in (file["detail"] or "") for file in daemon.state()["files"]))
        slow.write(b"and ended")
    archived(daemon, "slow.wav")

    assert server.heard == {b"begun and ended": 1}


def test_what_is_replaced_or_deleted_while_it_is_worked_on_is_let_go_of(daemon: DaemonProcess, server: TranscriptServer) -> None:
    server.takes_s = 60
    replaced, deleted = drop(daemon, "a.wav", b"old"), drop(daemon, "b.wav", b"gone")
    until(lambda: server.heard.keys() == {b"old", b"gone"})
    deleted.unlink()
    drop(daemon, "a.wav", b"new content")
    until(lambda: b"new content" in server.heard)
    server.finish()
    archived(daemon, replaced.name)

    assert bodies(daemon.folder) == {"a_raw.md": heard_of(b"new content"), "a_corrected.md": mended_of(b"new content")}
    assert set(server.heard.values()) == {1}


def test_what_is_not_a_recording_of_this_folder_is_never_taken(daemon: DaemonProcess, server: TranscriptServer) -> None:
    outside = daemon.folder.parent / "outside"
    outside.mkdir()
    (outside / "private.wav").write_bytes(b"private")
    (daemon.folder / "link.wav").symlink_to(outside / "private.wav")
    (daemon.folder / "links").symlink_to(outside)
    os.mkfifo(daemon.folder / "pipe.wav")
    for name in (".hidden.wav", ".folder/a.wav", "done/old.wav", "notes.txt", "a_raw.srt"):
        (daemon.folder / name).parent.mkdir(exist_ok=True)
        (daemon.folder / name).write_bytes(b"no recording")
    drop(daemon, "LOUD.WAV", b"recording")
    archived(daemon, "LOUD.WAV")

    assert server.heard == {b"recording": 1}
    assert (outside / "private.wav").exists()


def test_a_recording_that_cannot_be_heard_stays_and_is_not_tried_again_until_asked(daemon: DaemonProcess, server: TranscriptServer) -> None:
    for name in ("deaf", "refuse", "mute"):
        drop(daemon, f"{name}.wav", name.encode())
    drop(daemon, "empty.wav", b"")
    until(lambda: {f"{name}_failed.md" for name in ("deaf", "refuse", "mute", "empty")} <= results_of(daemon.folder).keys())
    daemon.kill()
    daemon.start()
    drop(daemon, "good.wav", b"good")
    archived(daemon, "good.wav")

    heads = results_of(daemon.folder)
    assert {name: head["failed"] for name, head in heads.items() if head["result"] == "failed"} == {
        "deaf_failed.md": "transcribe",
        "empty_failed.md": "submit",
        "mute_failed.md": "correct",
        "refuse_failed.md": "submit",
    }
    assert server.heard == {b"deaf": 1, b"mute": 1, b"good": 1}
    assert bodies(daemon.folder)["mute_raw.md"] == heard_of(b"mute")
    assert "mute_corrected.md" not in heads
    assert "mlx-local transcribe --retry" in (daemon.folder / "deaf_failed.md").read_text()

    assert "deaf.wav is tried again" in daemon.command("transcribe", "--retry", str(daemon.folder / "deaf.wav")).stdout
    until(lambda: server.heard[b"deaf"] == 2)
    until((daemon.folder / "deaf_failed.md").exists)
    daemon.kill()
    assert daemon.command("transcribe", "--retry").stdout.count("is tried again") == 4
    assert "No recording has failed" in daemon.command("transcribe", "--retry").stderr
    daemon.start()
    until(lambda: server.heard == {b"deaf": 3, b"mute": 2, b"good": 1})
    (daemon.folder / "refuse.wav").unlink()
    until(lambda: not (daemon.folder / "refuse_failed.md").exists() and (daemon.folder / "deaf_failed.md").exists())


def test_a_change_of_settings_retries_what_failed_and_redoes_nothing_that_is_done(daemon: DaemonProcess, server: TranscriptServer) -> None:
    drop(daemon, "a.wav", b"done")
    archived(daemon, "a.wav")
    drop(daemon, "b.wav", b"deaf")
    until((daemon.folder / "b_failed.md").exists)
    (daemon.folder / "dict.txt").write_text("# names\nCheung\nMLX # ours\n\n")
    until(lambda: server.heard[b"deaf"] == 2)
    drop(daemon, "a.wav", b"done")
    archived(daemon, "a (2).wav")

    assert server.heard == {b"done": 2, b"deaf": 2}
    assert {name for name in results_of(daemon.folder) if name.startswith("a")} == {"a_raw.md", "a_corrected.md"}
    assert list(server.jobs.values())[-1].request["hotwords"] == ["Cheung", "MLX"]


def test_what_a_user_edited_is_not_written_over_by_a_later_try(daemon: DaemonProcess, server: TranscriptServer) -> None:
    drop(daemon, "a.wav", b"talk")
    archived(daemon, "a.wav")
    with (daemon.folder / "a_corrected.md").open("a") as file:
        file.write("and a note of mine\n")
    (daemon.folder / "dict.txt").write_text("Cheung\n")
    drop(daemon, "a.wav", b"talk")
    archived(daemon, "a (2).wav")

    assert server.heard == {b"talk": 2}
    assert (daemon.folder / "a_corrected.md").read_text().endswith("note of mine\n")
    assert {"a.wav_raw.md", "a.wav_corrected.md"} <= results_of(daemon.folder).keys()


def test_uncertain_words_are_gathered_once_each_beside_what_is_there(daemon: DaemonProcess, server: TranscriptServer) -> None:
    (daemon.folder / "dict.txt").write_text("known\n")
    (daemon.folder / "dict_pending.txt").write_text("# mine\r\nkept")
    server.uncertain = ["known", "new", "kept", "new"]
    drop(daemon, "a.wav", b"1")
    archived(daemon, "a.wav")
    server.uncertain = ["new", "newer"]
    drop(daemon, "b.wav", b"2")
    archived(daemon, "b.wav")

    assert (daemon.folder / "dict_pending.txt").read_bytes() == b"# mine\r\nkept\nnew\nnewer\n"


def test_a_folder_says_how_its_recordings_are_treated(daemon: DaemonProcess, server: TranscriptServer) -> None:
    told = daemon.folder / "told"
    script = f"import sys; open({str(told)!r} + '.tmp', 'w').write(sys.stdin.read())"
    settings = 'language = "yue"\nsrt = true\nkeep_in_place = true\n[notify]\ncommand = ["python3", "-c", """' + script + '"""]\n'
    (daemon.folder / ".transcribe.toml").write_text(settings)
    (daemon.folder / ".transcribe.toml").chmod(0o600)
    (daemon.folder / "plain").mkdir()
    (daemon.folder / "plain" / ".transcribe.toml").write_text('stages = ["transcribe"]\ntimestamps = true\nkeep_in_place = false\n')
    drop(daemon, "a.wav", b"1")
    drop(daemon, "plain/b.wav", b"2")
    archived(daemon, "plain/b.wav")
    until(lambda: (daemon.folder / "a_corrected.md").exists() and told.with_name("told.tmp").exists())
    daemon.kill()
    shutil.rmtree(daemon.home / "transcribe")
    (daemon.folder / "dict.txt").write_text("new")
    daemon.start()
    drop(daemon, "plain/c.wav", b"3")
    archived(daemon, "plain/c.wav")

    assert (daemon.folder / "a.wav").exists()
    assert heard_of(b"1") in (daemon.folder / "a_raw.srt").read_text()
    assert "plain/b_corrected.md" not in results_of(daemon.folder)
    assert bodies(daemon.folder)["plain/b_raw.md"] == f"[0:00:00] {heard_of(b'2')}"
    assert server.heard == {b"1": 1, b"2": 1, b"3": 1}
    assert {job.request["language"] for job in server.jobs.values()} == {"yue"}


def test_several_folders_are_watched_each_with_its_own_archive(private_folder: Path, server: TranscriptServer) -> None:
    first, second = private_folder / "in", private_folder / "in" / "inner"
    daemon = DaemonProcess(private_folder / "home", first, server, TRANSCRIBE_DIRS=str(second))
    with contextlib.ExitStack() as stack:
        stack.enter_context(daemon.running())
        (first / "a.wav").write_bytes(b"1")
        (second / "b.wav").write_bytes(b"2")
        until(lambda: (first / "done" / "a.wav").exists() and (second / "done" / "b.wav").exists())

    assert server.heard == {b"1": 1, b"2": 1}
