"""What the application does is what its document says.

Schemathesis asks for everything that the document allows and for much that it forbids, follows the links between
answers, and holds each of them against the document.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from app.settings import Settings
from tests.integration.answering_worker import answering
from tests.integration.conftest import Api

_ROOT = Path(__file__).parents[2]
_CONFIG = Path(__file__).with_name("schemathesis.toml")
_KEY = "a-key-of-ours"  # the configuration's


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--max-examples=3", "--generation-deterministic"], id="briefly"),
        pytest.param(["--max-examples=200"], id="at-length", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_every_answer_is_one_that_the_document_has_and_none_is_a_defect(
    options: list[str], api_settings: Settings, start_api: Callable[..., Api], tmp_path: Path
) -> None:
    settings = api_settings.model_copy(update={"api_key": SecretStr(_KEY)})
    api = start_api(settings)
    document = tmp_path / "openapi.json"
    document.write_bytes(api.http.get("/openapi.json").raise_for_status().content)
    with answering(settings):
        found = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(_CONFIG)),
                *("run", str(document), "--url", f"http://127.0.0.1:{api.port}", *options),
            ],
            cwd=tmp_path,  # where it leaves what it learned
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert found.returncode == 0, found.stdout + found.stderr


def test_what_is_not_there_is_a_404_that_the_document_has(api: Api) -> None:
    for path, operations in api.http.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items() if "{" in path else ():
            missing = api.http.request(method, re.sub(r"{\w+}", "nothing", path))
            assert missing.status_code == 404, (method, path)
            assert missing.headers["content-type"] in operation["responses"]["404"]["content"], (method, path)


def test_the_document_is_behind_the_key_like_what_it_describes(api_settings: Settings, start_api: Callable[..., Api]) -> None:
    api = start_api(api_settings.model_copy(update={"api_key": SecretStr(_KEY)}))
    described = api.http.get("/openapi.json").json()
    assert described["security"] == [{"ApiKey": []}]
    assert described["paths"]["/health"]["get"]["security"] == []
    assert httpx.get(f"http://127.0.0.1:{api.port}/openapi.json", trust_env=False).status_code == 401


def test_without_a_key_the_document_asks_for_none(api: Api) -> None:
    assert "security" not in api.http.get("/openapi.json").json()


def test_a_path_with_several_methods_names_all_of_them_to_who_tries_another(api: Api) -> None:
    for path, allowed in [("/v1/jobs", "GET, POST"), ("/v1/files/file-1", "GET, DELETE"), ("/health", "GET, HEAD")]:
        refused = api.http.put(path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
        assert f"allowed: {allowed}." in refused.text


def test_probes_may_ask_with_head(api: Api) -> None:
    for path, status in [("/health", 200), ("/ready", 503)]:
        probe = api.http.head(path)
        assert (probe.status_code, probe.content) == (status, b"")


def test_a_range_that_is_none_is_ignored_and_one_behind_the_end_is_refused_in_openais_shape(api: Api) -> None:
    file_id = api.http.post("/v1/files", files={"file": ("x", b"hello")}, data={"purpose": "batch"}).json()["id"]
    for header in ("bytes", "lines=0-1", "bytes=3-1", "bytes=a-b"):
        whole = api.http.get(f"/v1/files/{file_id}/content", headers={"Range": header})
        assert (whole.status_code, whole.content) == (200, b"hello")
    behind = api.http.get(f"/v1/files/{file_id}/content", headers={"Range": "bytes=5-"})
    assert (behind.status_code, behind.headers["content-range"]) == (416, "bytes */5")
    assert behind.json()["error"]["param"] == "Range"
