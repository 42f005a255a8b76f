"""``mlx-local worker`` for another machine's jobs: what it is told before it starts, and that it works through a network that fails."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from app.cli.joining import check_cluster, clock_offset_s, tell_clock
from app.cli.services.table import services_of
from app.cli.terminal import NOT_RUNNING, USAGE, CommandError
from app.jobs.gateway import JobGateway
from app.jobs.record import Job, JobState
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.named_keys import NamedKeys, Scope
from app.settings import Settings, load_settings
from tests.conftest import RedisServer
from tests.documents import barred
from tests.integration.command import COMMAND, environment, mlx_local
from tests.integration.conftest import Api
from tests.integration.daemon_process import until
from tests.integration.relay import Relay
from tests.integration.test_ocr_worker import done, read
from tests.integration.test_worker_crashes import answer
from tests.integration.worker_process import scripted_catalog


@pytest.fixture
def relay(api: Api) -> Iterator[Relay]:
    """The network between a worker and the API."""
    with Relay(api.port) as relay:
        yield relay


@pytest.fixture
def key(api_settings: Settings) -> str:
    """A worker's key, so that keys are needed."""
    return NamedKeys(api_settings.home).create("elsewhere", Scope.WORKER)


@pytest.fixture
def remote(api_settings: Settings, private_folder: Path, relay: Relay, key: str) -> Settings:
    """Settings of a worker of another machine."""
    return load_settings(
        home=private_folder / "elsewhere",
        redis_url=api_settings.redis_url,
        api_url=f"http://127.0.0.1:{relay.port}/v1/",
        worker_key=key,
        profile="16gb",
    )


def refusal(settings: Settings) -> tuple[int, str]:
    with pytest.raises(CommandError) as refused:
        check_cluster(settings, lambda _: None)
    return refused.value.exit_code, refused.value.message


def test_a_worker_that_could_do_nothing_is_told_what_to_mend(
    api: Api, api_settings: Settings, remote: Settings, relay: Relay, private_folder: Path
) -> None:
    told: list[str] = []
    check_cluster(remote, told.append)
    assert f"API: http://127.0.0.1:{relay.port} answers and accepts the key." in told
    weak = NamedKeys(api_settings.home).create("weak", Scope.INFERENCE)
    for wrong, words in ((None, "--scope worker"), ("mlx-wrong", "--scope worker"), (weak, "has the scope 'inference'")):
        settings = load_settings(home=remote.home, redis_url=remote.redis_url, api_url=remote.api_url, worker_key=wrong)
        code, message = refusal(settings)
        assert (code, words in message, str(wrong) in message) == (USAGE, True, False), message
    (private_folder / "other").mkdir()
    other = RedisServer(private_folder / "other")
    other.start()
    code, message = refusal(remote.model_copy(update={"redis_url": other.url}))
    other.kill()
    assert (code, "another Redis" in message) == (USAGE, True)
    assert refusal(remote.model_copy(update={"redis_url": other.url}))[0] == NOT_RUNNING
    relay.cut()
    code, message = refusal(remote)
    assert (code, "does not answer" in message) == (NOT_RUNNING, True)


def test_a_certificate_that_is_not_trusted_is_refused(
    api: Api, remote: Settings, private_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(private_folder / "ca.pem"))
    with Relay(api.port, context) as https:
        over_tls = remote.model_copy(update={"api_url": f"https://localhost:{https.port}"})
        code, message = refusal(over_tls)
        assert (code, "SSL_CERT_FILE" in message) == (USAGE, True), message
        monkeypatch.setenv("SSL_CERT_FILE", str(private_folder / "ca.pem"))
        check_cluster(over_tls, lambda _: None)
    code, message = refusal(remote.model_copy(update={"api_url": f"https://127.0.0.1:{api.port}"}))
    assert (code, "speaks no TLS" in message) == (USAGE, True), message


def test_a_clock_that_is_off_is_told_and_one_that_is_not_is_not(remote: Settings) -> None:
    told: list[str] = []
    tell_clock(clock_offset_s(remote), told.append)
    assert told == []
    for offset_s in (-4.0, 75.5):
        tell_clock(offset_s, told.append)
    assert ["4.0 s behind" in told[0], "75.5 s ahead of" in told[1]] == [True, True]


def test_what_a_worker_of_another_machine_lacks_is_said_at_once(settings: Settings, private_folder: Path) -> None:
    alone = settings.model_copy(update={"redis_url": None})
    done = mlx_local(alone, "worker", "--api", "http://127.0.0.1:1")
    assert (done.returncode, "--redis" in done.stderr) == (USAGE, True)
    done = mlx_local(alone, "worker", "--redis", "redis://:hunter2@127.0.0.1:1")
    assert (done.returncode, "--api" in done.stderr, "hunter2" in done.stderr) == (USAGE, True, False)
    done = mlx_local(settings, "worker", "--api", "http://127.0.0.1:1", "--key-file", str(private_folder / "nowhere"))
    assert (done.returncode, "--key-file" in done.stderr) == (USAGE, True)
    (settings.home / "config.toml").write_text('api_url = "http://127.0.0.1:1"\n')
    for words in (("chat", "hello"), ("models", "load", "chat"), ("jobs", "retry", "job_1")):
        done = mlx_local(settings, *words)
        assert (done.returncode, "has no API" in done.stderr) == (USAGE, True), done.stderr
    done = mlx_local(settings, "api")
    assert (done.returncode, "`mlx-local worker`" in done.stderr) == (USAGE, True)


def test_the_home_of_a_worker_has_a_worker_as_its_only_service(remote: Settings) -> None:
    assert [service.name for service in services_of(remote)] == ["worker"]


class Elsewhere:
    """A worker of another machine, started as its user would, whose way to API and Redis leads through relays."""

    def __init__(self, remote: Settings, redis_server: RedisServer, catalog: Path, key_file: Path) -> None:
        self.redis = Relay(redis_server.socket)
        own = remote.model_copy(update={"redis_url": None, "catalog": catalog})
        url = f"redis://127.0.0.1:{self.redis.port}?socket_timeout=1"  # a user's has 30 s
        words = ["worker", "--redis", url, "--api", str(remote.api_url), "--key-file", str(key_file)]
        self.ends_with = 0
        # The engine is of the tests, which are not installed.
        chosen = environment(own, MLX_LOCAL_DRAIN_TIMEOUT="1", PYTHONPATH=str(Path(__file__).parents[2]))
        self.process = subprocess.Popen([*COMMAND, *words], env=chosen, stdout=subprocess.DEVNULL)

    def close(self) -> int:
        self.process.terminate()
        return self.process.wait()


@pytest.fixture
def elsewhere(remote: Settings, redis_server: RedisServer, private_folder: Path, key: str) -> Iterator[Elsewhere]:
    """A running worker of another machine."""
    key_file = private_folder / "key"
    key_file.write_text(f"{key}\n")
    worker = Elsewhere(remote, redis_server, scripted_catalog(private_folder, "chat", "ocr"), key_file)
    with worker.redis:
        yield worker
        assert worker.close() == worker.ends_with


async def submit(settings: Settings, new: NewJob) -> None:
    """Submit a job and wait for nothing."""
    gateway = await JobGateway.open(settings)
    await gateway.submit(new)
    await gateway.close()


def text(job: Job, store: JobStore) -> str:
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2), job.error  # its plan, and what its pages were put together in
    return store.output(job.id).content.decode()


@pytest.mark.slow
def test_documents_are_read_elsewhere_while_api_and_redis_come_and_go(
    api_settings: Settings, store: JobStore, remote: Settings, relay: Relay, elsewhere: Elsewhere, background: ThreadPoolExecutor
) -> None:
    lengths = [3, 1, 2]
    expected = "\n\n".join(answer(length).strip() for length in lengths) + "\n"
    first = read(store, barred(lengths), response_format="text")  # no JSON, so its output is a blob
    assert text(done(api_settings, store, first), store) == expected
    assert not remote.spool_dir.exists()
    assert set(store.spool.holders()) == {first.id}  # no page that was drawn there has come here

    relay.cut()
    relay.tried.clear()
    second = read(store, barred(lengths[::-1]), response_format="text")

    def mend() -> None:
        relay.tried.wait(60)
        relay.mend()

    background.submit(mend)
    assert len(text(done(api_settings, store, second), store)) == len(expected)

    elsewhere.redis.stall()
    elsewhere.redis.tried.clear()
    until(elsewhere.redis.tried.is_set)  # it noticed that nothing comes back, and tries anew
    elsewhere.redis.mend()
    third = read(store, barred([4, 4]), response_format="text")
    assert text(done(api_settings, store, third), store) == f"{answer(4).strip()}\n\n{answer(4).strip()}\n"

    lost = read(store, barred([1, 2]))
    store.spool.path(lost.blobs[0]).unlink()
    failed = done(api_settings, store, lost)
    assert failed.error is not None
    assert failed.error.code == "blob_not_found"

    relay.cut()
    relay.tried.clear()
    left = read(store, barred([1, 2]))
    asyncio.run(submit(api_settings, left))
    assert relay.tried.wait(60)
    assert elsewhere.close() == 0
    assert store.get(left.id).state is JobState.QUEUED  # given back, not failed


def test_a_worker_whose_key_was_revoked_gives_its_jobs_back_and_ends(api_settings: Settings, store: JobStore, elsewhere: Elsewhere) -> None:
    keys = NamedKeys(api_settings.home)
    keys.create("another", Scope.WORKER)  # or none would be needed
    until(lambda: bool(store.workers()))
    keys.revoke("elsewhere")
    left = read(store, barred([1, 2]))
    asyncio.run(submit(api_settings, left))
    elsewhere.ends_with = USAGE
    assert elsewhere.process.wait(120) == USAGE
    assert store.get(left.id).state is JobState.QUEUED
