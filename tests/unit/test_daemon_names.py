"""Names of results, folder settings, and files that are looked at while they are sent."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from itertools import islice
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.finishing import Finisher
from daemon.folder import Folder
from daemon.folder_settings import FolderSettings, FolderSettingsReader
from daemon.hot_words import hot_words
from daemon.ledger import Known, Ledger
from daemon.naming import SUFFIXES, archive_names, stems
from daemon.results import Place
from daemon.signature import Changed, Signature, Verified, content_hash, signature_of
from daemon.stillness import Stillness
from daemon.writing import move

CHARACTERS = st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0")
NAMES = st.text(CHARACTERS, min_size=1, max_size=120).map(lambda text: text + ".wav")


@given(NAMES, NAMES, st.sampled_from([60, 143, 255]))
def test_every_name_fits_and_different_recordings_do_not_meet(one: str, other: str, limit: int) -> None:
    for names in (stems(one, limit), (name.removesuffix(SUFFIXES[1]) for name in archive_names(one[-20:], limit))):
        first = list(islice(names, 4))
        assert len(set(first)) >= 3
        assert all(len(os.fsencode(name)) <= limit for name in first)
    assert all(len(os.fsencode(stem + suffix)) <= limit for stem in islice(stems(one, limit), 4) for suffix in SUFFIXES)
    if one != other:
        assert list(islice(stems(one, limit), 1, 3)) != list(islice(stems(other, limit), 1, 3))


def test_a_file_stands_still_when_nothing_of_it_changes_and_an_empty_one_later() -> None:
    stillness = Stillness(2.0)
    path = Path("a.wav")

    assert stillness.still_in_s(path, Signature(5, 1), 100.0) == 2.0
    assert stillness.still_in_s(path, Signature(6, 1), 101.0) == 2.0
    assert stillness.still_in_s(path, Signature(6, 2), 102.5) == 2.0
    assert stillness.still_in_s(path, Signature(6, 2), 104.5) == 0.0
    assert stillness.still_in_s(path, Signature(0, 3), 105.0) == 60.0


@pytest.mark.parametrize("now", [b"other content", b"this content and more", b"this"])
def test_a_file_that_changed_is_never_sent_whole(tmp_path: Path, now: bytes) -> None:
    content = b"this content."
    path = tmp_path / "a.wav"
    path.write_bytes(now)

    with Verified(path, len(content), hashlib.sha256(content).hexdigest(), Event()) as file:
        sent = iter(lambda: file.read(4), b"")
        arrived = [next(sent)]
        with pytest.raises(Changed):
            arrived.extend(sent)
    assert len(b"".join(arrived)) < len(content)


def test_a_recording_that_is_not_the_one_that_was_finished_is_put_back(tmp_path: Path) -> None:
    path, target = tmp_path / "a.wav", tmp_path / "b.wav"
    path.write_bytes(b"another")

    with pytest.raises(Changed):
        move(path, target, Signature(1, 1), "0" * 8)
    assert path.read_bytes() == b"another"
    assert not target.exists()


@pytest.mark.parametrize(("copied", "names"), [(b"this", {"a.wav"}), (b"that", {"a.wav", "a (2).wav"})])
def test_a_move_to_another_disk_that_was_broken_off_is_finished(tmp_path: Path, copied: bytes, names: set[str]) -> None:
    source, target = tmp_path / "a.wav", tmp_path / "done" / "a.wav"
    target.parent.mkdir()
    source.write_bytes(b"this")
    target.write_bytes(copied)
    signature = signature_of(source)
    assert signature is not None
    ledger = Ledger(tmp_path / "home" / "ledger.sqlite3")
    known = Known(source, signature, content_hash(source, signature), "1" * 64, "a", target)

    Finisher(ledger, "0" * 8).archive(tmp_path, known, FolderSettings(), Place(tmp_path, "a"))
    assert not source.exists()
    assert {path.name for path in target.parent.iterdir()} == names
    assert target.read_bytes() == copied
    ledger.close()


def test_a_folders_settings_count_over_those_above_it(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / ".transcribe.toml").write_text('language = "en"\nsrt = true\n[notify]\ndesktop = false')
    (inner / ".transcribe.toml").write_text('language = "yue"\ncorrection_model = ""')
    reader = FolderSettingsReader(tmp_path)

    assert reader.of(inner).request(["x"]) == {"stages": ["transcribe"], "language": "yue", "hotwords": ["x"]}
    assert (reader.of(inner).srt, reader.of(inner).notify.desktop, reader.of(inner.parent).language) == (True, False, "en")
    assert reader.of(inner.parent).request([]) == {"stages": ["transcribe", "correct"], "language": "en"}


@pytest.mark.parametrize(
    ("text", "named"), [("srt = 1", "srt"), ('stages = ["correct"]', "stages"), ("a = ", ""), ("[notify]\ncommand = []", "notify.command")]
)
def test_settings_that_cannot_be_used_are_named_and_ignored(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / ".transcribe.toml").write_text(text)
    reader = FolderSettingsReader(tmp_path)

    assert reader.of(tmp_path).request([])["stages"] == ["transcribe", "correct"]
    assert named in str(list(reader.troubles.values()))


def test_notifications_count_only_where_nobody_else_can_have_asked_for_them(tmp_path: Path) -> None:
    path = tmp_path / ".transcribe.toml"
    path.write_text('srt = true\n[notify]\ncommand = ["true"]')
    path.chmod(0o664)
    reader = FolderSettingsReader(tmp_path)

    assert (reader.of(tmp_path).srt, reader.of(tmp_path).notify.command) == (True, None)
    assert "chmod" in str(reader.troubles)
    path.chmod(0o644)
    assert reader.of(tmp_path).notify.command == ["true"]
    assert not reader.troubles


def test_troubles_of_settings_are_told_at_a_scan_and_end_with_their_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / ".transcribe.toml"
    path.parent.mkdir()
    path.write_text("srt = 1")
    folder = Folder(tmp_path, {"wav"}, [], 30.0, lambda: None)

    assert folder.look(time.monotonic(), "0" * 8)
    assert "srt" in str(folder.troubles)
    shutil.rmtree(path.parent)
    assert folder.look(time.monotonic() + 60, "0" * 8)
    assert "srt" not in str(folder.troubles)
    folder.close()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_words_are_read_as_editors_save_them(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "dict.txt").write_text("Schrödinger\r\n黃 # a name\n", encoding=encoding)

    assert hot_words(tmp_path) == ["Schrödinger", "黃"]


def test_a_pipe_has_no_words(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dict.txt")

    assert hot_words(tmp_path) == []
