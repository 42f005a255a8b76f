"""A Redis of another machine: with a password, behind TLS, and what is told, and not told, of a wrong address."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import trustme

from app.cli.preparing import check_redis
from app.cli.terminal import NOT_RUNNING, USAGE, CommandError, say_nothing
from app.errors import InvalidSetting
from app.jobs.broker import Announcer, InferenceBroker
from app.jobs.connection import connect
from app.jobs.record import JobKind, Lane, new_job_id
from app.jobs.spool import Spool
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings, load_settings
from tests.conftest import RedisServer
from tests.integration.relay import Relay

PASSWORD = "hunter2/#?"
QUOTED = "hunter2%2F%23%3F"


@pytest.fixture
def authority() -> trustme.CA:
    """Signs the certificate of the Redis."""
    return trustme.CA()


@pytest.fixture
def relay(redis_server: RedisServer, authority: trustme.CA) -> Iterator[Relay]:
    """A way to a Redis that wants a password, with TLS, which the bundled server cannot do itself."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("requirepass", PASSWORD)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with Relay(redis_server.socket, context) as relay:
        yield relay


@pytest.fixture
def url(relay: Relay, authority: trustme.CA, private_folder: Path) -> str:
    """Its address, as a user writes it."""
    file = private_folder / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return f"rediss://:{QUOTED}@localhost:{relay.port}/0?ssl_ca_certs={file}"


def reached_by(url: str, home: Path) -> Settings:
    return load_settings(home=home, redis_url=url, profile="starter")


def test_store_broker_and_subscriptions_all_speak_tls_and_say_the_password(url: str, relay: Relay, private_folder: Path) -> None:
    settings = reached_by(url, private_folder)
    told: list[str] = []
    check_redis(settings, told.append)
    assert PASSWORD not in "".join(told)
    client = connect(settings, retries=0)
    store = JobStore(client, Spool(settings.spool_dir))
    broker = InferenceBroker(settings, broker_id="test")
    broker.declare_queue("tiny_batch")
    with client.pubsub(ignore_subscribe_messages=True) as listener:  # type: ignore[no-untyped-call]
        listener.subscribe("mlx:control")
        listener.get_message(timeout=30)
        job = NewJob(id=new_job_id(), kind=JobKind.CHAT, model="tiny", lane=Lane.BATCH, request={}, waited=False)
        store.submit(job, max_queued=10)
        assert Announcer(broker, store).announce(job.id)
        assert listener.get_message(timeout=30)["data"].startswith("queue ")
    assert relay.asked_bytes > 0
    broker.close()
    client.close()


def test_who_is_not_let_in_is_told_why_and_never_shown_the_password(url: str, relay: Relay, private_folder: Path) -> None:
    cases = {
        url.replace("hunter2", "wrong"): (USAGE, "password"),
        url.replace(f":{QUOTED}@", ""): (USAGE, "password"),
        url.partition("?")[0]: (USAGE, "certificate"),
        url.replace("localhost", "127.0.0.1"): (USAGE, "certificate"),  # of another name
        f"{url}.gone": (USAGE, "ssl_ca_certs"),
    }
    for wrong, (code, word) in cases.items():
        with pytest.raises(CommandError) as refused:
            check_redis(reached_by(wrong, private_folder), say_nothing)
        assert (refused.value.exit_code, word in refused.value.message) == (code, True), refused.value.message
        assert "hunter2" not in refused.value.message
    relay.cut()
    with pytest.raises(CommandError) as away:
        check_redis(reached_by(url, private_folder), say_nothing)
    assert away.value.exit_code == NOT_RUNNING
    assert "hunter2" not in away.value.message


@pytest.mark.parametrize(
    "wrong",
    [
        "redis://:hunter2/x@localhost:1",  # not encoded
        "redis://:hunter2@localhost:port",
        "redis://:hunter2@localhost:1?hunter2=1",
        "rediss://:hunter2@localhost:1?ssl_cert_reqs=hunter2",
        "redis://:hunter2@localhost:1?socket_timeout=hunter2",
        "http://:hunter2@localhost:1",
    ],
)
def test_an_address_that_is_none_is_refused_without_a_part_of_it_being_shown(wrong: str, private_folder: Path) -> None:
    with pytest.raises(InvalidSetting) as refused:
        connect(reached_by(wrong, private_folder))
    assert refused.value.message.startswith("MLX_LOCAL_REDIS_URL: must be an address")
    assert "hunter2" not in refused.value.message


def test_a_connection_that_went_silent_is_given_up_and_made_anew(url: str, relay: Relay, private_folder: Path) -> None:
    client = connect(reached_by(f"{url}&socket_timeout=0.5", private_folder))
    assert client.ping()
    relay.stall()
    relay.tried.clear()

    def mend() -> None:
        relay.tried.wait(30)
        relay.mend()

    mended = threading.Thread(target=mend)
    mended.start()
    assert client.ping()  # times out, is tried again, and comes through
    mended.join()
    client.close()
