"""Who is let in, and to what: names, pages, keys, scopes, owners and rates, over real HTTP."""

from __future__ import annotations

import http.client
import json
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import anthropic
import httpx
import openai
import pytest

from app.cli import api_client
from app.internal_key import internal_key, internal_key_path
from app.jobs.chains import Chains, Child, Plan
from app.jobs.record import JobKind
from app.named_keys import NamedKeys, Scope, keys_path
from app.settings import Settings
from tests.integration.api_process import Process
from tests.integration.command import mlx_local
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker

CHAT = {"messages": [{"role": "user", "content": "a secret of mine"}]}
StartApi = Callable[..., Api]
MakeClient = Callable[[Api, str], httpx.Client]


@pytest.fixture
def keys(api_settings: Settings) -> NamedKeys:
    """The keys of the home that the APIs serve."""
    return NamedKeys(api_settings.home)


@pytest.fixture
def client() -> Iterator[MakeClient]:
    """Clients that carry a key."""
    with ExitStack() as stack:

        def make(api: Api, key: str) -> httpx.Client:
            headers = {"Authorization": f"Bearer {key}"}
            return stack.enter_context(httpx.Client(base_url=api.http.base_url, headers=headers, timeout=60, trust_env=False))

        yield make


def test_a_key_counts_from_when_it_is_made_until_it_is_revoked_on_both_ports(
    api: Api, api_settings: Settings, start_api: StartApi, keys: NamedKeys
) -> None:
    other = start_api(api_settings)
    assert api.http.get("/v1/models").status_code == other.http.get("/v1/models").status_code == 200
    key = keys.create("laptop", Scope.INFERENCE)
    for each in (api, other):
        assert each.http.get("/health").status_code == 200
        assert each.http.get("/v1/models").json()["error"]["code"] == "invalid_api_key"
        for headers in ({"Authorization": f"Bearer {key}"}, {"X-Api-Key": key}):
            assert each.http.get("/v1/models", headers=headers).status_code == 200
        with pytest.raises(openai.AuthenticationError):
            each.openai.with_options(api_key=f"{key}x").models.list()
    with (
        pytest.raises(anthropic.AuthenticationError),
        anthropic.Anthropic(base_url=str(api.http.base_url), api_key="wrong", max_retries=0) as stranger,
    ):
        stranger.messages.create(model="chat", max_tokens=1, messages=[{"role": "user", "content": "x"}])
    assert api.http.get("/v1/jobs").headers["content-type"] == "application/problem+json"
    assert api.http.get("/openapi.json", headers={"X-Api-Key": key}).json()["security"] == [{"ApiKey": []}]
    keys.revoke("laptop")
    keys.create("phone", Scope.INFERENCE)
    for each in (api, other):
        assert each.http.get("/v1/models", headers={"X-Api-Key": key}).status_code == 401


def test_the_scope_inference_moves_no_model_and_downloads_none(api: Api, keys: NamedKeys, client: MakeClient) -> None:
    weak = client(api, keys.create("weak", Scope.INFERENCE))
    strong = client(api, keys.create("strong", Scope.ADMIN))
    moves = [
        *(("POST", f"/v1/models/far-away/{what}") for what in ("load", "unload", "pull")),
        ("DELETE", "/v1/models/tiny-chat"),
        ("DELETE", "/v1/models?model_name=tiny-chat"),
        ("GET", "/v1/admin/models"),
        ("GET", "/v1/admin/models/tiny-chat/stats"),
    ]
    for method, path in moves:
        refused = weak.request(method, path)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_scope"), path
        assert "the scope 'inference'" in refused.json()["error"]["message"]
        assert "'weak'" in refused.json()["error"]["message"]
    download = {"kind": "download", "request": {"model": "far-away"}}
    refused = weak.post("/v1/jobs", json=download)
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert weak.head("/ready").status_code == 503
    assert strong.get("/v1/admin/models").status_code == 200
    assert strong.post("/v1/jobs", json=download).json()["owner"] == "strong"


def test_a_key_of_the_scope_inference_sees_its_own_jobs_alone(api: Api, keys: NamedKeys, worker: FakeWorker, client: MakeClient) -> None:
    unowned = api.http.post("/v1/jobs", json={"kind": "chat", "request": CHAT}).json()
    mine, theirs = (client(api, keys.create(name, Scope.INFERENCE)) for name in ("mine", "theirs"))
    admin = client(api, keys.create("admin", Scope.ADMIN))
    body = {"kind": "chat", "request": CHAT}
    other = theirs.post("/v1/jobs", json=body).json()
    for path, method in [("", "GET"), ("/output", "GET"), ("/events", "GET"), ("/cancel", "POST"), ("/retry", "POST"), (".0", "GET")]:
        for job in (other, unowned):
            hidden = mine.request(method, f"/v1/jobs/{job['id']}{path}")
            assert (hidden.status_code, hidden.json()["code"]) == (404, "job_not_found"), path
    assert mine.get(f"/v1/jobs?parent={other['id']}").status_code == 404
    job = mine.post("/v1/jobs", json=body).json()
    assert (job["owner"], unowned["owner"]) == ("mine", None)

    assert [each["id"] for each in mine.get("/v1/jobs").json()["data"]] == [job["id"]]
    assert mine.get("/v1/jobs?model=tiny-embed").json()["data"] == []
    everybodys = [job["id"], other["id"], unowned["id"]]
    assert [each["id"] for each in admin.get("/v1/jobs").json()["data"]] == everybodys
    assert admin.post(f"/v1/jobs/{other['id']}/cancel").json()["state"] == "canceled"
    assert theirs.get(f"/v1/jobs/{other['id']}").json()["state"] == "canceled"
    retried = admin.post(f"/v1/jobs/{other['id']}/retry").json()
    assert (retried["owner"], theirs.get(f"/v1/jobs/{retried['id']}").status_code) == ("theirs", 200)

    claim = worker.try_to_claim(job["id"])
    assert claim is not None
    assert Chains(worker.store).plan(claim, Plan(children=(Child(kind=JobKind.CHAT, model="tiny-chat", request={}),)))
    assert mine.get(f"/v1/jobs/{job['id']}.0").json()["owner"] == "mine"
    assert len(mine.get(f"/v1/jobs?parent={job['id']}").json()["data"]) == 1
    assert theirs.get(f"/v1/jobs/{job['id']}.0").status_code == 404
    mine.post(f"/v1/jobs/{job['id']}/cancel")
    worker.store.forget(job["id"])
    assert mine.get("/v1/jobs").json()["data"] == []


def test_files_and_stored_responses_have_owners_too(
    api: Api, keys: NamedKeys, worker: FakeWorker, client: MakeClient, background: ThreadPoolExecutor
) -> None:
    mine, theirs = (client(api, keys.create(name, Scope.INFERENCE)) for name in ("mine", "theirs"))
    file = theirs.post("/v1/files", files={"file": ("a.txt", b"theirs")}, data={"purpose": "user_data"}).json()["id"]
    for method, path in [("GET", ""), ("GET", "/content"), ("DELETE", "")]:
        assert mine.request(method, f"/v1/files/{file}{path}").status_code == 404
    speech = {"kind": "transcript", "request": {"file_id": file}}
    assert mine.post("/v1/jobs", json=speech).status_code == 404
    assert mine.get("/v1/files").json()["data"] == []
    assert theirs.get(f"/v1/files/{file}/content").content == b"theirs"

    call = background.submit(theirs.post, "/v1/responses", json={"input": "a secret of mine"})
    worker.finish_chat(worker.claim(), "Hi")
    response = call.result().json()["id"]
    for method, path in [("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")]:
        assert mine.request(method, f"/v1/responses/{response}{path}").status_code == 404
    assert mine.post("/v1/responses", json={"input": "and then?", "previous_response_id": response}).status_code == 404
    assert theirs.get(f"/v1/responses/{response}").json()["output"][0]["content"][0]["text"] == "Hi"


def test_two_keys_may_use_the_same_idempotency_key(api: Api, keys: NamedKeys, client: MakeClient) -> None:
    one, two = (client(api, keys.create(name, Scope.INFERENCE)) for name in ("one", "two"))
    headers = {"Idempotency-Key": "the-same"}
    first, again, other = (
        each.post("/v1/jobs", json={"kind": "chat", "request": CHAT}, headers=headers).json()["id"] for each in (one, one, two)
    )
    assert first == again != other


def test_a_key_that_is_used_too_often_waits_and_others_do_not(
    api_settings: Settings, start_api: StartApi, keys: NamedKeys, client: MakeClient
) -> None:
    limited = api_settings.model_copy(update={"rate_limit": "3/hour"})
    api, other = start_api(limited), start_api(limited)
    key = keys.create("busy", Scope.INFERENCE)
    busy, quiet, ours = (client(api, each) for each in (key, keys.create("quiet", Scope.ADMIN), internal_key(api_settings.home)))
    assert [busy.get("/v1/models").status_code for _ in range(2)] == [200, 200]
    assert other.http.get("/v1/jobs", headers={"X-Api-Key": key}).status_code == 200  # both ports count together
    with pytest.raises(openai.RateLimitError) as refused:
        api.openai.with_options(api_key=key).models.list()
    assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "requests")
    assert 0 < int(refused.value.response.headers["retry-after"]) <= 1200
    assert "x-should-retry" not in refused.value.response.headers
    messages = busy.post("/v1/messages", json={})
    assert (messages.status_code, messages.json()["error"]["type"]) == (429, "rate_limit_error")
    assert busy.get("/health").status_code == quiet.get("/v1/models").status_code == 200
    assert {ours.get("/v1/models").status_code for _ in range(5)} == {200}


def test_a_page_of_elsewhere_can_neither_ask_nor_read(api_settings: Settings, start_api: StartApi) -> None:
    page = "https://chat.example.net"
    closed = start_api(api_settings)
    simple = json.dumps({"kind": "chat", "request": CHAT}).encode()
    for sent in ({"Origin": page}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "rebound.example.net"}):
        refused = closed.http.post("/v1/jobs", content=simple, headers={"Content-Type": "text/plain", **sent})
        assert (refused.status_code, refused.json()["code"]) == (403, "foreign_host"), sent
    assert closed.http.get("/v1/jobs").json()["data"] == []
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert closed.http.get("/v1/models", headers=link).status_code == 200
    assert closed.http.post("/v1/jobs", json={}, headers=link).status_code == 403
    assert closed.http.get("/v1/models", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
    local = closed.http.get("/v1/models", headers={"Origin": "http://localhost:3000"})
    assert (local.status_code, "access-control-allow-origin" in local.headers) == (200, False)

    opened = start_api(api_settings.model_copy(update={"cors_origins": (page,), "allowed_hosts": ("mini.lan",)}))
    question = {"Origin": page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = opened.http.options("/v1/jobs", headers=question)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, page)
    answer = opened.http.get("/v1/models", headers={"Origin": page, "Sec-Fetch-Site": "cross-site", "Host": "mini.lan:8787"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, page)
    assert opened.http.get("/v1/models", headers={"Origin": "https://other.example.net"}).status_code == 403
    assert opened.http.get("/v1/models", headers={"Host": "other.lan"}).status_code == 403


def test_what_is_refused_is_logged_and_no_secret_with_it(api_settings: Settings, keys: NamedKeys) -> None:
    weak = keys.create("weak", Scope.INFERENCE)
    process = Process(api_settings, MLX_LOCAL_MAX_BODY="2000")
    try:
        good = {"X-Api-Key": weak}
        tries = [
            process.http.post("/v1/chat/completions", json=CHAT, headers={"Authorization": "Bearer mlx-wrong-key"}),
            process.http.post("/v1/jobs?key=in-the-query", json=CHAT, headers={"Host": "rebound.example.net", **good}),
            process.http.post("/v1/models/tiny-chat/unload", headers=good),
            process.http.post("/v1/embeddings", json={"input": "a secret of mine" * 500}, headers=good),
            process.http.post("/v1/jobs", json={"kind": "chat", "request": {**CHAT, "temperature": "a secret of mine"}}, headers=good),
            process.http.post("/v1/jobs", json={"kind": "chat", "request": CHAT}, headers=good),
        ]
        assert [answer.status_code for answer in tries] == [401, 403, 403, 413, 400, 202]
        assert api_client.get(api_settings.model_copy(update={"port": process.port}), "/v1/jobs")["data"]
        ours = internal_key_path(api_settings.home)
        assert stat.S_IMODE(ours.stat().st_mode) == 0o600
        for path in _TRICKS:
            assert _raw(process.port, path, weak) == 404, path
        process.child.terminate()
        process.child.wait(30)
        text = process.log.read_text()
        lines = [line for line in map(json.loads, text.splitlines()) if line["event"] == "http.request"]
        codes = ["invalid_api_key", "foreign_host", "insufficient_scope", "body_too_large", "invalid_request", None]
        assert [line["error"] for line in lines[:6]] == codes
        assert [line["key"] for line in lines[:7]] == [None, None, "weak", "weak", "weak", "weak", "internal"]
        for private in (weak, "mlx-wrong-key", "secret of mine", "in-the-query", ours.read_text().strip()):
            assert private not in text
    finally:
        process.close()


_TRICKS = [
    *(f"/v1/files/{name}{rest}" for name in ("..%2f..%2finternal.key", "%2e%2e", "*", "a%00b") for rest in ("", "/content")),
    *(
        f"/v1/jobs/{name}{rest}"
        for name in ("..%2fkeys.json", "%2e%2e%2f%2e%2e", "job_*", "a%0d%0ab")
        for rest in ("", "/output", "/events")
    ),
    "/v1/responses/..%2f..%2fkeys.json",
    "/../internal.key",
    "//internal.key",
    "/v1/models/..%2f..%2finternal.key",
]


def _raw(port: int, path: str, key: str) -> int:
    """Ask for *path* as it stands: a client would tidy it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers={"X-Api-Key": key})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_file_is_called_what_its_name_ends_in(api: Api) -> None:
    for sent, name in [("../../keys.json", "keys.json"), ("..\\..\\keys.json", "keys.json"), ("/etc/passwd", "passwd"), ("..", "upload")]:
        kept = api.http.post("/v1/files", files={"file": (sent, b"x")}, data={"purpose": "user_data"}).json()
        assert kept["filename"] == name
        shown = api.http.get(f"/v1/files/{kept['id']}/content")
        assert shown.content == b"x"
        assert "/" not in shown.headers["content-disposition"].partition("filename")[2]


def test_others_cannot_reach_a_server_that_has_no_key(api_settings: Settings) -> None:
    process = Process(api_settings, MLX_LOCAL_HOST="0.0.0.0")  # noqa: S104 - is what is refused
    try:
        assert process.child.wait(30) == 2
        assert process.child.stderr is not None
        (line,) = process.child.stderr.read().splitlines()
        assert "mlx-local keys create" in line
    finally:
        process.close()


def test_keys_are_made_listed_and_revoked_by_the_command_line(settings: Settings) -> None:
    made = mlx_local(settings, "keys", "create", "laptop", "--scope", "admin")
    key = made.stdout.strip()
    assert (made.returncode, " " in key) == (0, False)
    assert "not shown again" in made.stderr
    assert key not in keys_path(settings.home).read_text()
    listed = json.loads(mlx_local(settings, "keys", "list", "--json").stdout)
    assert [(each["name"], each["scope"], "sha256" in each) for each in listed] == [("laptop", "admin", False)]
    assert mlx_local(settings, "keys", "revoke", "laptop").stdout == "laptop is revoked.\n"
    assert NamedKeys(settings.home).all() == ()
