"""``mlx-local purge``: what was asked and answered is gone from every file, and what is still wanted is not."""

from __future__ import annotations

import fcntl
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.jobs import keys
from app.jobs.claims import Claimed
from app.jobs.files import FileStore
from app.jobs.purge import rewrite_journal
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.spool import Spool
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings
from daemon.ledger import Ledger
from daemon.outcome import Transcribed
from tests.conftest import RedisServer
from tests.integration.command import mlx_local

SECRET = "what-was-said-in-confidence"


def submitted(store: JobStore) -> str:
    request = {"messages": [{"role": "user", "content": SECRET}]}
    new = NewJob(kind=JobKind.CHAT, model="tiny-chat", lane=Lane.BATCH, request=request, waited=False)
    return store.submit(new, max_queued=100).job_id


def ended(store: JobStore, output: bytes) -> str:
    job_id = submitted(store)
    assert isinstance(store.claim(job_id, 1, worker="w", token="t"), Claimed)
    assert store.commit(job_id, "t", JobState.SUCCEEDED, output=output)
    return job_id


def holding_the_secret(*folders: Path) -> list[str]:
    return [str(path) for folder in folders for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_nothing_of_it_is_left_in_any_file(settings: Settings, store: JobStore, redis_server: RedisServer) -> None:
    ledger = Ledger(settings.daemon_dir / "ledger.sqlite3")  # as a daemon that runs has it open
    ledger.keep_transcribed("identity", Transcribed("job_1", {"text": "x"}))
    small, large = ended(store, json.dumps(SECRET).encode()), ended(store, json.dumps(SECRET * 10_000).encode())
    waits = submitted(store)
    file = FileStore(store).create("notes.txt", "user_data", [SECRET.encode()])
    (settings.home / "chat_history").write_text(SECRET)
    recording = settings.home / "transcribe" / "talk_raw.md"
    recording.write_text("of the user")
    assert len(holding_the_secret(settings.spool_dir, redis_server.folder)) >= 3

    assert mlx_local(settings, "purge").returncode == 2  # nobody is there to ask
    assert mlx_local(settings, "purge", "--yes", "--older-than", "1h", "--json").returncode == 0
    assert store.get(small).output == SECRET

    done = json.loads(mlx_local(settings, "purge", "--yes", "--json").stdout)
    assert (done["jobs"], done["files"], done["cancelled"]) == (2, 1, 0)
    assert store.find_many([small, large, waits]).keys() == {waits}
    assert FileStore(store).page(limit=10, after=None, newest_first=True, purpose=None) == ([], False)
    assert (file.id, ledger.transcribed("identity"), recording.exists()) == (file.id, None, True)
    assert holding_the_secret(settings.spool_dir, settings.home) == []

    assert json.loads(mlx_local(settings, "purge", "--yes", "--all", "--json").stdout)["cancelled"] == 1
    assert store.count_by_state() == dict.fromkeys(JobState, 0)
    assert rewrite_journal(store.client, 30)
    assert holding_the_secret(settings.home, redis_server.folder) == []
    assert {key for key in store.client.scan_iter("*") if ":job:" in key or ":tok:" in key or ":idem:" in key} == set()
    assert store.client.type(keys.FILES) == "none"
    ledger.close()


@pytest.mark.parametrize("words", [("--older-than", "soon"), ("--all", "--older-than", "7d")])
def test_a_purge_that_is_not_clear_removes_nothing(settings: Settings, store: JobStore, words: tuple[str, ...]) -> None:
    kept = ended(store, b"1")
    assert mlx_local(settings, "purge", "--yes", *words).returncode == 2
    assert store.get(kept).state is JobState.SUCCEEDED


def test_a_blob_that_is_being_linked_to_is_not_removed(private_folder: Path) -> None:
    spool = Spool(private_folder / "spool")
    name = spool.put(b"the same", holder="first")
    spool.drop("first")
    with (private_folder / "spool" / "lock").open() as lock, ThreadPoolExecutor(1) as threads:
        fcntl.flock(lock, fcntl.LOCK_SH)  # as whoever makes a link
        clearing = threads.submit(spool.clear)
        with pytest.raises(TimeoutError):
            clearing.result(timeout=0.2)
        spool.hold(name, holder="second")  # makers do not wait for each other
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert clearing.result() == 0
    assert spool.get(name) == b"the same"
    spool.drop("second")
    assert spool.clear() == 1
