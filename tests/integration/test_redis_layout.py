"""docs/redis.md is true: of the names in the code, and of what is in Redis when everything has been used."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import cast

from app.actors.presence import Presence
from app.errors import EngineFailed, Failure
from app.jobs import keys
from app.jobs.batch_record import ALL_MODELS, USAGE
from app.jobs.batches import Batches, ClerkId, Collected, Line
from app.jobs.calls import CallDelta
from app.jobs.chains import Chains, Child, Plan
from app.jobs.claims import Claimed
from app.jobs.decoding import ModelState
from app.jobs.deliveries import Deliveries
from app.jobs.files import FileStore
from app.jobs.hooks import Webhook
from app.jobs.loads import Loads
from app.jobs.record import JobKind, JobState, Lane, Progress
from app.jobs.retention import Retention
from app.jobs.series import RUNS
from app.jobs.store import JobStore
from app.jobs.streams import Piece, SoundPiece
from app.jobs.submission import Idempotency, NewJob, download_job
from app.jobs.tally import Tally
from app.jobs.wishes import Wishes

_ROOT = Path(__file__).parents[2]
_PAGE = (_ROOT / "docs" / "redis.md").read_text()
_ROWS = re.findall(r"^\| `(mlx:[\w:]+)` \| (\w+) \| ([^|]+) \|", _PAGE, re.MULTILINE)
DOCUMENTED: dict[str, tuple[str, str]] = {key: (kind, lives) for key, kind, lives in _ROWS}
_STANDS_FOR = {
    "job_id": "JOB",
    "file_id": "FILE",
    "state": "STATE",
    "model": "MODEL",
    "name": "QUEUE",
    "worker_id": "WORKER",
    "scope": "SCOPE",
    "key": "KEY",
    "owner": "OWNER",
}
_NO_KEYS = {"queue_name", "queue_of", "child", "batch", "downloads_of", "is_downloads"}  # they name other things, or are tried apart
_CHANNELS = {keys.WAKE, keys.CONTROL}
_ERROR = Failure(code=EngineFailed.code, message="It broke.")


def named_in_code() -> set[str]:
    """Return every key that keys.py can make, with capitals for what varies, and every one that the scripts name whole."""
    constants = {value for name, value in vars(keys).items() if name.isupper() and str(value).startswith(keys.PREFIX)}
    made: set[str] = set()
    for name, function in inspect.getmembers(keys, inspect.isfunction):
        parameters = inspect.signature(function).parameters
        if function.__module__ == keys.__name__ and name not in {
            "queue_name",
            "queue_of",
            "child",
            "batch",
            "downloads_of",
            "is_downloads",
        }:
            varies = {each: _STANDS_FOR[each] for each in parameters if each != "children"}
            made |= {function(**varies, **flag) for flag in ({"children": True}, {"children": False})} if "children" in parameters else {
                function(**varies)
            }  # fmt: skip
    scripts = "".join(file.read_text() for file in (_ROOT / "app" / "jobs").glob("*.lua"))
    whole = {keys.PREFIX + name for name in re.findall(r"P \.\. '(\w+(?::\w+)?)'", scripts)}
    made |= {keys.batch("JOB", what) for what in ("fed", "lines", "ended", "parts")}
    return (constants | made | whole) - {keys.PREFIX} - _CHANNELS


def documented_as(key: str) -> str:
    """Return the documented key that *key* is one of; of several the one that says most."""
    found: list[str] = [name for name in DOCUMENTED if re.fullmatch(re.sub(r"[A-Z]+", ".+", name), key)]
    assert found, f"{key} is not in docs/redis.md"
    return max(found, key=lambda name: len(re.sub(r"[A-Z]+", "", name)))


def fields_of(key: str) -> set[str]:
    """Return the fields that the page gives a kind of hash."""
    text: str = _PAGE.partition("Of `mlx:job:JOB`:")[2] if key == "mlx:job:JOB" else _PAGE.partition(f"Of `{key}`:")[2].partition(".")[0]
    return set(re.findall(r"`(\w+)`", text.partition("\n\nOf ")[0]))


def fields_of_entries() -> dict[str, set[str]]:
    """Return the fields that the page gives each type of entry in a job's stream, beside those that all have."""
    told = _PAGE.partition("Entries of `mlx:tok:JOB` have")[2].partition("\n\n")[0]
    fields = {name: set(re.findall(r"`(\w+)`", inside)) for name, inside in re.findall(r"`(\w+)`\s+\(([^)]*)\)", told)}
    return fields | {"child": fields["child"] | fields["progress"]}


def use_everything(store: JobStore) -> None:
    same = Idempotency(scope="anyone:/v1/chat/completions", key="k", digest="d")
    for number, state in enumerate(("queued", "failed", "succeeded")):
        new = NewJob(
            kind=JobKind.CHAT, model="m", lane=Lane.BATCH, request={}, waited=number == 1, traceparent="00-0-0-01",
            stored=state == "succeeded", owner="anna", idempotency=same.model_copy(update={"key": state}),
        )  # fmt: skip
        store.submit(new, max_queued=9, waiter="w")
        if state == "queued":
            continue
        claim = store.claim(new.id, 1, worker="home-1", token="t")
        assert isinstance(claim, Claimed)
        call: CallDelta = (0, "f", "{}")
        store.publish_tokens([Piece(new.id, "t", (1,), "x", 1, [(b"x", -0.5, ())], "y", (call,), (("t", 1), ("r", 1), ("c", 1)))])
        store.publish_progress([(new.id, "t", Progress(done=1, total=2))])
        store.publish_sound([(new.id, "t", SoundPiece(sentence=0, offset=0, rate=16_000, last=True, pcm=b"\0\0"))])
        well = state == "succeeded"
        store.commit(new.id, "t", JobState(state), output=b"1" * 70_000 if well else None, usage={"n": 1}, error=None if well else _ERROR)
    store.announced(store.list_jobs()[-1].id, 1, "message")
    parent = NewJob(kind=JobKind.OCR, model="m", lane=Lane.BATCH, request={}, waited=False)
    store.submit(parent, max_queued=9)
    claim = store.claim(parent.id, 1, worker="home-1", token="t")
    assert isinstance(claim, Claimed)
    Chains(store).plan(claim, Plan(children=(Child(kind=JobKind.OCR, model="m", request={}),) * 2, window=1, stage="reading"))
    child = store.claim(keys.child(parent.id, 0), 1, worker="home-1", token="t")
    assert isinstance(child, Claimed)
    store.commit(child.id, "t", JobState.SUCCEEDED, output=b"1")
    store.retry(store.list_jobs(state=JobState.FAILED)[0].id, max_queued=9)
    use_batch(store)
    use_webhooks(store)
    Wishes(store).say("m", "resident")
    FileStore(store).create("a name", "batch", [b"x"])
    Retention(keep_waited_s=1, keep_submitted_s=1, keep_finished=1, max_redis_bytes=1).say(store.client)
    tally = Tally()
    tally.observe(RUNS, "chat", "m", value=1)
    loads = Loads(store, "home-1")
    presence = Presence(store, "home-1", tally, loads)
    presence.report("m", ModelState(state="resident"))
    presence.report_memory(1, 2, 0, short=False)
    presence.report_narrowing("")
    store.moves("spend", {"caller": "anna", "most": 1, "window_s": 60})
    presence.report_stock({"m": 1}, {"n"})
    presence.beat()
    assert loads.claim("n", ())
    store.submit(download_job("n", "org/n", home="abc"), max_queued=9)


def use_batch(store: JobStore) -> None:
    """Leave a batch in its middle: one line was collected, one has ended."""
    asked = {"endpoint": "/v1/chat/completions", "input_file_id": "file-1", "completion_window": "24h"}
    new = NewJob(kind=JobKind.BATCH, model=ALL_MODELS, lane=Lane.BATCH, request=asked, waited=False, lasts_s=3600, owner="anna")
    batches, clerk = Batches(store), ClerkId(store.submit(new, max_queued=9).job_id, "api-1:0", "api-1:")
    batches.attend(clerk)
    batches.begin(clerk, 3, None)
    job = NewJob(kind=JobKind.CHAT, model="m", lane=Lane.BATCH, request={}, waited=False, blobs=(store.spool.put(b"x", holder="job_line"),))
    batches.feed(clerk, [Line(number, job.model_copy(update={"id": "job_line"})) for number in (0, 1)])
    for number in (0, 1):
        line = store.claim(keys.child(clerk.batch, number), 1, worker="home-1", token="t")
        assert isinstance(line, Claimed)
        store.commit(line.id, "t", JobState.SUCCEEDED, output=b"1")
    batches.collect(clerk, Collected(store.spool.put(b"y", holder=clerk.batch), [0], [2], dict.fromkeys(USAGE, 1)))
    batches.finalize(clerk)


def use_webhooks(store: JobStore) -> None:
    """Leave a delivery that has failed once, and one that waits for it."""
    hook = Webhook(url="http://one/hook", receiver="http://one:80")
    new = NewJob(kind=JobKind.CHAT, model="m", lane=Lane.BATCH, request={}, waited=False, owner="anna", webhook=hook)
    store.submit(new, max_queued=9)
    assert isinstance(store.claim(new.id, 1, worker="home-1", token="t"), Claimed)
    store.commit(new.id, "t", JobState.FAILED, error=_ERROR)
    (delivery,) = Deliveries(store).take(most=9, most_each=9, busy={}, lease_s=15)
    Deliveries(store).put_back(delivery, 5, _ERROR)


def test_every_name_in_the_code_is_on_the_page_and_no_other() -> None:
    lua_only = {"mlx:seq", "mlx:waiters:JOB", "mlx:rate:OWNER", "mlx:webhooks:due:RECEIVER", "mlx:webhooks:of:JOB"}
    assert {documented_as(key) for key in named_in_code() | lua_only} == set(DOCUMENTED)


def test_what_is_in_redis_has_the_types_fields_and_lives_that_the_page_says(store: JobStore) -> None:
    store.check_schema()
    use_everything(store)
    seen = set()
    for key in cast("list[str]", sorted(store.client.scan_iter(f"{keys.PREFIX}*"))):
        name = documented_as(key)
        kind, lives = DOCUMENTED[name]
        assert store.client.type(key) == kind, key
        assert ("expires" in lives) or store.client.ttl(key) == -1, key
        if known := fields_of(name):
            assert set(cast("dict[str, str]", store.client.hgetall(key))) <= known, key
        seen.add(name)
    assert set(DOCUMENTED) - seen <= {"mlx:lingering", "mlx:deadlines"}
    moves = entries_in(store, keys.EVENTS)
    assert {field for entry in moves for field in entry} == {"job", "state", "kind", "model", "lane", "attempt"}
    written: dict[str, set[str]] = {}
    for job in store.client.scan_iter(keys.tokens("*")):
        for entry in entries_in(store, job):
            written.setdefault(entry["type"], set()).update(entry.keys() - {"type", "attempt"})
    assert written == fields_of_entries()


def entries_in(store: JobStore, stream: str) -> list[dict[str, str]]:
    return [entry for _, entry in cast("list[tuple[str, dict[str, str]]]", store.client.xrange(stream))]


def test_every_field_that_the_scripts_read_or_write_of_a_job_is_on_the_page() -> None:
    scripts = "".join(file.read_text() for file in (_ROOT / "app" / "jobs").glob("*.lua"))
    read = re.findall(r"\bread\((?:[\w.]+|child_id\([^)]*\)), ([^)]*)\)", scripts)
    written = re.findall(r"job_key\([\w.]+\), ('\w+')", scripts)
    named = set(re.findall(r"'(\w+)'", " ".join([*read, *written])))
    assert len(named) > 30
    assert named <= fields_of("mlx:job:JOB")
