"""The end of a recording, with the process dying before each single thing that it does to the disk."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.settings import Settings, load_settings
from daemon.api import Api
from daemon.desk import Desk
from daemon.finishing import Finisher
from daemon.flights import Flights
from daemon.folder import Folder
from daemon.folder_settings import FolderSettings
from daemon.identity import home_mark, identity_of
from daemon.ledger import Known, Ledger
from daemon.notifying import Notifier
from daemon.outcome import Transcribed
from daemon.signature import content_hash, signature_of
from tests.integration.daemon_process import results_of
from tests.transcript_server import TranscriptServer

_DEADLY = frozenset({"open", "os.mkdir", "os.remove", "os.rename"})
_CONTENT = b"what was said"


@pytest.fixture
def server() -> Iterator[TranscriptServer]:
    with TranscriptServer(uncertain=["Wang"]).serving() as running:
        yield running


def killed_before(deed: int, work: Callable[[], object]) -> bool:
    """Do *work* in a process that is killed before its deed of this number; return whether it came so far."""
    child = os.fork()
    if child == 0:
        left = deed

        def count(event: str, _: object) -> None:
            nonlocal left
            if event in _DEADLY:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


class Home:
    """A home whose daemon is about to write down what was heard of a recording, and then its whole transcript."""

    def __init__(self, place: Path, server: TranscriptServer) -> None:
        self.folder = place / "in"
        (self.folder / "talks").mkdir(parents=True)
        self.recording = self.folder / "talks" / "a.wav"
        self.recording.write_bytes(_CONTENT)
        self.settings: Settings = load_settings(
            home=place / "home", transcribe_dir=self.folder, port=server.port, profile="starter", transcribe_settle=0
        )
        self.memory = self.settings.daemon_dir / "ledger.sqlite3"
        signature = signature_of(self.recording)
        assert signature is not None
        sha256 = content_hash(self.recording, signature)
        request = FolderSettings().request([])
        self.known = Known(self.recording, signature, sha256, identity_of(sha256, request, self.settings))
        assert self.known.identity is not None
        api = Api(self.settings, threading.Event())
        job = api.submit(self.recording, signature, sha256, self.known.identity, request)
        self.outcome = Transcribed(job, api.output(job))
        api.close()
        ledger = Ledger(self.memory)
        ledger.keep(self.known)
        ledger.close()

    def write(self) -> None:
        """Write it down, and archive the recording."""
        ledger = Ledger(self.memory)
        finisher = Finisher(ledger, home_mark(self.settings))
        finisher.write_heard(self.folder, self.known, self.outcome.job_id, self.outcome.output, FolderSettings())
        ledger.keep_transcribed(self.known.identity or "", self.outcome)
        finisher.write(self.folder, self.known, self.outcome, FolderSettings())

    def recover(self) -> None:
        """Do what the next daemon does, until no recording is left."""
        ledger = Ledger(self.memory)
        api = Api(self.settings, threading.Event())
        flights = Flights(api, ledger, 64, lambda: None)
        desk = Desk(self.settings, ledger, flights, Notifier(), home_mark(self.settings), lambda: None)
        folder = Folder(self.folder, {"wav"}, [], 0.0, lambda: None)
        rounds = 0
        while rounds == 0 or desk.recordings:
            if folder.look(time.monotonic(), home_mark(self.settings)):
                desk.take_in(folder)
                rounds += 1
            flights.advance(time.monotonic())
            desk.advance(time.monotonic())
            desk.clear_up([folder])
        for each in (folder, desk, flights, api, ledger):
            each.close()

    def left(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}


def nothing(_: Home) -> None:
    """Let the next daemon find all as it was."""


def forget(home: Home) -> None:
    """Lose the daemon's memory."""
    shutil.rmtree(home.settings.daemon_dir)


def rename(home: Home) -> None:
    """Call the recording something else, if it is still there."""
    if home.recording.exists():
        home.recording.rename(home.folder / "talks" / "b.wav")


@pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")  # watchdog's, of a folder that is made while it looks
@pytest.mark.parametrize("meanwhile", [nothing, forget, rename])
def test_a_recording_has_one_pair_wherever_the_daemon_died(
    private_folder: Path, server: TranscriptServer, meanwhile: Callable[[Home], None]
) -> None:
    deed, died, archives = 0, True, set()
    while died:
        home = Home(private_folder / str(deed), server)
        died = killed_before(deed, home.write)
        meanwhile(home)
        home.recover()
        (archived,) = (home.folder / "done" / "talks").iterdir()
        name = archived.stem
        assert home.left() == {f"done/talks/{archived.name}", f"talks/{name}_raw.md", f"talks/{name}_corrected.md", "dict_pending.txt"}
        assert {head["source"] for head in results_of(home.folder).values()} == {archived.name}
        assert (home.folder / "dict_pending.txt").read_text() == "Wang\n"
        archives.add(archived.name)
        deed += 1

    assert deed > 15
    assert archives == ({"a.wav", "b.wav"} if meanwhile is rename else {"a.wav"})
    assert server.heard == {_CONTENT: 1}
