"""One try at one event, over a real socket: who is asked, and what each answer means."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.addresses.connecting import Rules, look_up
from app.api.webhooks.asking import rules_of
from app.api.webhooks.sending import Sent, send
from app.jobs.hooks import Told
from app.settings import load_settings
from app.webhook_secret import webhook_secrets
from tests.fetched import names
from tests.hook_receiver import HANG, HookReceiver
from tests.picture_server import PictureServer, leads_to

_SHORT_S = 0.4  # for what never answers
_LONG_S = 30.0


@pytest.fixture
def secrets(tmp_path: Path) -> Sequence[str]:
    return webhook_secrets(tmp_path)


def rules(tmp_path: Path, *, private: bool = True) -> Rules:
    return rules_of(load_settings(home=tmp_path, private_webhooks=private))


def tried(url: str, secrets: Sequence[str], where: Rules, longest_s: float = _LONG_S) -> Sent:
    facts = {"id": "evt_1", "event": "failed", "at": 1, "job": "job_1", "kind": "chat", "model": "m", "state": "failed"}
    return asyncio.run(send(Told.model_validate({**facts, "url": url, "receiver": "r"}), secrets, where, longest_s))


@pytest.mark.parametrize("status", [200, 204, 299])
def test_any_success_is_one(tmp_path: Path, secrets: Sequence[str], status: int) -> None:
    with HookReceiver(status) as receiver:
        assert tried(receiver.url, secrets, rules(tmp_path)) == Sent(status)
    (arrived,) = receiver.arrived
    assert arrived.path == "/hook?token=of-the-receiver"
    assert arrived.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 503])
def test_anything_else_is_tried_again(tmp_path: Path, secrets: Sequence[str], status: int) -> None:
    with HookReceiver(status, headers={"Location": "http://127.0.0.1/", "Retry-After": "7"}) as receiver:
        sent = tried(receiver.url, secrets, rules(tmp_path))
    assert sent.failure is not None
    assert f"with status {status}" in sent.failure.message
    assert "token" not in sent.failure.message
    assert (sent.is_final, sent.retry_after_s, len(receiver.arrived)) == (False, 7.0, 1)


def test_who_wants_no_more_gets_no_more(tmp_path: Path, secrets: Sequence[str]) -> None:
    with HookReceiver(410) as receiver:
        assert tried(receiver.url, secrets, rules(tmp_path)).is_final


def test_who_hangs_or_is_away_or_unknown_is_tried_again(tmp_path: Path, secrets: Sequence[str]) -> None:
    async def nobody(host: str, port: int) -> Sequence[str]:
        raise OSError(-2, "Name or service not known")

    with HookReceiver(HANG) as receiver:
        hung = tried(receiver.url, secrets, rules(tmp_path), _SHORT_S)
    away = tried(receiver.url, secrets, rules(tmp_path))
    unknown = tried("http://hooks.example/", secrets, rules(tmp_path)._replace(resolve=nobody))
    told = ["did not answer within 0.4 s", "cannot be reached", "'hooks.example' of the webhook's address is not known"]
    for sent, words in zip((hung, away, unknown), told, strict=True):
        assert sent.failure is not None
        assert words in sent.failure.message
        assert (sent.failure.code, sent.is_final) == ("webhook_failed", False)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["10.1.2.3"], ["169.254.169.254"]])
def test_a_name_that_has_come_to_mean_a_private_address_is_not_connected_to(
    tmp_path: Path, secrets: Sequence[str], addresses: list[str]
) -> None:
    with PictureServer({}) as server:
        where = rules(tmp_path, private=False)._replace(resolve=names(hooks_example=addresses))
        sent = tried(server.url("/hook?token=x", host="hooks.example"), secrets, where)
        assert server.connections == 0
    assert sent.failure is not None
    assert "MLX_LOCAL_PRIVATE_WEBHOOKS" in sent.failure.message
    assert (sent.failure.code, sent.is_final) == ("address_not_allowed", True)


def test_the_connection_goes_to_the_address_that_was_judged_and_no_further(tmp_path: Path, secrets: Sequence[str]) -> None:
    with HookReceiver() as receiver, PictureServer({"/": leads_to("/elsewhere")}) as other:
        port = int(receiver.url.split(":")[2].split("/")[0])
        where = rules(tmp_path)._replace(resolve=names(hooks_example=["127.0.0.1"]))  # it is never asked twice
        assert tried(f"http://hooks.example:{port}/", secrets, where) == Sent(204)
        assert receiver.arrived[0].headers["host"] == f"hooks.example:{port}"
        tried(other.url(), secrets, rules(tmp_path)._replace(resolve=look_up))
        assert other.asked == []  # it knows no POST; a redirect would have come as GET
