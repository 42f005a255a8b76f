"""``/v1/worker``: what workers of other machines read and make, over real HTTP, and who may ask for it."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app import __version__
from app.api.sweeping import sweep_if_due
from app.jobs.gateway import JobGateway
from app.jobs.store import JobStore
from app.named_keys import NamedKeys, Scope
from app.settings import Settings
from tests.integration.conftest import Api
from tests.integration.daemon_process import until

CONTENT = bytes(range(256)) * 12_000  # 3 MB
NAME = hashlib.sha256(CONTENT).hexdigest()
NOWHERE = hashlib.sha256(b"nowhere").hexdigest()


@pytest.fixture
def api_with_key(api_settings: Settings, start_api: Callable[..., Api]) -> Api:
    """An API that takes small bodies and uploads alone, asked by a worker."""
    key = NamedKeys(api_settings.home).create("mini", Scope.WORKER)
    api = start_api(api_settings.model_copy(update={"max_upload": 1000, "max_body": 1000, "rate_limit": "1/hour"}))
    api.http.headers["Authorization"] = f"Bearer {key}"
    return api


def left(settings: Settings) -> list[Path]:
    """Return what was not written to its end."""
    return list((settings.spool_dir / "blobs").glob(".writing-*"))


def test_each_key_has_the_routes_of_its_scope_and_no_others(api: Api, api_settings: Settings) -> None:
    keys = {scope: {"X-Api-Key": NamedKeys(api_settings.home).create(scope, scope)} for scope in Scope}
    asked = [
        ("GET", "/v1/worker", {Scope.WORKER, Scope.ADMIN}),
        ("GET", f"/v1/worker/blobs/{NAME}", {Scope.WORKER, Scope.ADMIN}),
        ("PUT", f"/v1/worker/blobs/{NAME}?holder=job_1", {Scope.WORKER, Scope.ADMIN}),
        ("PUT", f"/v1/worker/blobs/{NAME}/holders/job_1", {Scope.WORKER, Scope.ADMIN}),
        ("GET", "/v1/models", {Scope.INFERENCE, Scope.ADMIN}),
        ("GET", "/v1/jobs", {Scope.INFERENCE, Scope.ADMIN}),
        ("GET", "/ready", {Scope.INFERENCE, Scope.ADMIN}),
        ("POST", "/v1/chat/completions", {Scope.INFERENCE, Scope.ADMIN}),
        ("GET", "/v1/admin/models", {Scope.ADMIN}),
    ]
    for method, path, allowed in asked:
        answers = {scope: api.http.request(method, path, headers=headers) for scope, headers in keys.items()}
        assert {scope for scope, answer in answers.items() if answer.status_code != 403} == allowed, path
        assert {answer.status_code for answer in answers.values()} != {401}
        assert api.http.request(method, path).status_code == 401
    refused = api.http.get("/v1/worker", headers=keys[Scope.INFERENCE])
    assert (refused.headers["content-type"], refused.json()["code"]) == ("application/problem+json", "insufficient_scope")
    assert "'worker'" in refused.json()["detail"]


def test_content_goes_up_and_down_whatever_other_uploads_may_have(api_with_key: Api, api_settings: Settings, store: JobStore) -> None:
    http_ = api_with_key.http
    for _ in range(2):  # a second time it changes nothing
        sent = http_.put(f"/v1/worker/blobs/{NAME}", params={"holder": "job_1.2"}, content=CONTENT)
        assert (sent.status_code, sent.content) == (204, b"")
    assert http_.get(f"/v1/worker/blobs/{NAME}").content == CONTENT
    rest = http_.get(f"/v1/worker/blobs/{NAME}", headers={"Range": "bytes=2999999-"})
    assert (rest.status_code, rest.content) == (206, CONTENT[2999999:])
    behind = http_.get(f"/v1/worker/blobs/{NAME}", headers={"Range": f"bytes={len(CONTENT)}-"})
    assert (behind.status_code, behind.json()["code"]) == (416, "range_not_satisfiable")
    assert http_.put(f"/v1/worker/blobs/{NAME}/holders/job_3").status_code == 204
    assert sorted(store.spool.holders()) == ["job_1.2", "job_3"]
    assert store.spool.get(NAME) == CONTENT
    assert left(api_settings) == []


def test_what_is_not_there_or_not_whole_is_refused_and_leaves_nothing(api_with_key: Api, api_settings: Settings, store: JobStore) -> None:
    http_ = api_with_key.http
    for answer in (http_.get(f"/v1/worker/blobs/{NOWHERE}"), http_.put(f"/v1/worker/blobs/{NOWHERE}/holders/job_1")):
        assert (answer.status_code, answer.json()["code"]) == (404, "blob_not_found")
    damaged = http_.put(f"/v1/worker/blobs/{NOWHERE}", params={"holder": "job_1"}, content=CONTENT)
    assert (damaged.status_code, damaged.json()["code"]) == (400, "wrong_content")
    wrong = [("..%2f..%2fkeys.json", "job_1"), (NAME.upper(), "job_1"), (NAME, "../job"), (NAME, "a~b"), (NAME, ""), (NAME, "x" * 81)]
    for blob, holder in wrong:
        assert http_.put(f"/v1/worker/blobs/{blob}", params={"holder": holder}, content=CONTENT).status_code in {400, 404}
    assert http_.put(f"/v1/worker/blobs/{NAME}", content=CONTENT).status_code == 400
    with socket.create_connection(("127.0.0.1", api_with_key.port)) as broken:
        head = f"PUT /v1/worker/blobs/{NAME}?holder=job_1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(CONTENT)}\r\n"
        broken.sendall(f"{head}Authorization: {http_.headers['Authorization']}\r\n\r\n".encode() + CONTENT[:2_000_000])
        until(lambda: bool(left(api_settings)))
    until(lambda: not left(api_settings))
    assert list(store.spool.holders()) == []


def test_content_for_which_the_disk_has_no_room_is_to_come_later(api_with_key: Api) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api_with_key.port, timeout=60)
    connection.putrequest("PUT", f"/v1/worker/blobs/{NAME}?holder=job_1")
    connection.putheader("Content-Length", str(10**16))
    connection.putheader("Authorization", api_with_key.http.headers["Authorization"])
    connection.endheaders(b"x")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
    connection.close()


def test_an_api_says_which_redis_has_its_jobs(api_with_key: Api, store: JobStore) -> None:
    facts = {"version": __version__, "redis_id": store.client.info("server")["run_id"]}
    assert {str(api_with_key.http.get("/v1/worker").json()) for _ in range(3)} == {str(facts)}  # and counts no worker's requests


def test_an_api_sweeps_a_spool_that_no_worker_sweeps(api_settings: Settings, store: JobStore) -> None:
    async def sweep() -> bool:
        gateway = await JobGateway.open(api_settings)
        try:
            return await sweep_if_due(gateway, older_than_s=0.0)
        finally:
            await gateway.close()

    forgotten = store.spool.put(b"of a job that is gone", holder="job_gone")
    assert asyncio.run(sweep())
    assert not store.spool.path(forgotten).exists()
    forgotten = store.spool.put(b"of another one", holder="job_gone")
    assert not asyncio.run(sweep())  # somebody has just looked
    os.utime(api_settings.spool_dir / "swept", (0, 0))
    assert asyncio.run(sweep())
    assert not store.spool.path(forgotten).exists()


def test_a_client_that_knows_no_key_is_told_what_it_needs(api_with_key: Api) -> None:
    assert httpx.get(f"http://127.0.0.1:{api_with_key.port}/v1/worker", trust_env=False).json()["code"] == "invalid_api_key"
