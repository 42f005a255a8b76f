"""Documents ranked through the whole path: HTTP, job, real worker, tiny rerankers of both families. Their order means nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.settings import load_settings
from tests.conformance.subjects import Subject
from tests.conformance.test_reranking import by_the_card
from tests.conftest import RedisServer
from tests.integration.conftest import Api, running
from tests.integration.worker_process import WorkerProcess

QUERY = "What is the capital of France?"
TEXTS = [f"{place} {'the river and the sea ' * (place % 5)}" for place in range(12)]


class Stack:
    """A running API and its worker."""

    def __init__(self, api: Api, worker: WorkerProcess, judge: Path) -> None:
        self.api = api
        self.worker = worker
        self.judge = judge

    def rank(self, path: str = "/v1/rerank", /, **request: Any) -> httpx.Response:  # noqa: ANN401
        return self.api.http.post(path, json={"query": QUERY, "documents": TEXTS, **request})


@pytest.fixture(scope="module")
def stack(tiny_model: Callable[[str], Path]) -> Iterator[Stack]:
    home = Path(tempfile.mkdtemp(prefix="mlx-", dir="/tmp"))
    names = ("qwen3_reranker", "bert_reranker")
    entries = [f'[[model]]\nid = "{name}"\nrepo = "{tiny_model(f"{name}-f32")}"\ntasks = ["rerank"]\n' for name in names]
    (home / "catalog.toml").write_text("".join(entries) + '[roles]\nrerank = "qwen3_reranker"\n')
    (home / "redis").mkdir()
    redis = RedisServer(home / "redis")
    redis.start()
    of_home = load_settings(home=home / "home", redis_url=redis.url, profile="starter", min_free_disk=0, catalog=home / "catalog.toml")
    of_home.home.mkdir()
    worker = WorkerProcess(of_home)
    worker.start()
    with running(of_home) as api:
        yield Stack(api, worker, tiny_model("qwen3_reranker-f32"))
    assert worker.stop() == 0
    redis.kill()
    shutil.rmtree(home, ignore_errors=True)


def test_documents_come_in_the_order_of_the_models_own_scores(stack: Stack) -> None:
    answer = stack.rank().raise_for_status()
    body = answer.json()
    scores = by_the_card(Subject("qwen3_reranker-f32", stack.judge), TEXTS)
    ranked = [result["index"] for result in body["results"]]
    assert sorted(ranked) == list(range(len(TEXTS)))
    np.testing.assert_allclose([result["relevance_score"] for result in body["results"]], scores[ranked], atol=1e-5)
    assert [result["document"]["text"] for result in body["results"]] == [TEXTS[index] for index in ranked]
    found = [result["relevance_score"] for result in body["results"]]
    assert found == sorted(found, reverse=True)
    assert body["model"] == "qwen3_reranker"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] > 0
    assert body["id"] == f"rerank-{answer.headers['x-job-id'].removeprefix('job_')}"


def test_every_path_of_other_servers_is_the_same_and_refuses_in_the_same_shape(stack: Stack) -> None:
    answers = [
        stack.rank(path, model="bert_reranker", top_n=3).raise_for_status().json() for path in ("/v1/rerank", "/rerank", "/v2/rerank")
    ]
    assert len(answers[0]["results"]) == 3
    assert answers[0]["results"] == answers[1]["results"] == answers[2]["results"]
    for path in ("/v1/rerank", "/rerank", "/v2/rerank"):
        refused = stack.rank(path, documents=[])
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "documents")


def test_a_document_that_is_too_long_is_told_by_its_place_or_cut_as_asked(stack: Stack) -> None:
    long = [*TEXTS[:2], "the sea " * 3000]
    refused = stack.rank(model="bert_reranker", documents=long)
    assert refused.status_code == 400
    assert (refused.json()["error"]["code"], refused.json()["error"]["param"]) == ("context_length_exceeded", "documents.2")
    for limit in ({"truncate_prompt_tokens": -1}, {"max_tokens_per_doc": 50}):
        assert len(stack.rank(model="bert_reranker", documents=long, **limit).raise_for_status().json()["results"]) == 3


def test_ranking_is_a_kind_of_job_like_any_other(stack: Stack) -> None:
    request = {"query": QUERY, "documents": TEXTS, "return_documents": False}
    receipt = stack.api.http.post("/v1/jobs", json={"kind": "rerank", "request": request})
    assert receipt.status_code == 202
    job_id = receipt.json()["id"]
    stack.api.http.get(f"/v1/jobs/{job_id}/events").raise_for_status()  # ends with the job
    job = stack.api.http.get(f"/v1/jobs/{job_id}").json()
    assert (job["kind"], job["model"], job["state"], job["lane"]) == ("rerank", "qwen3_reranker", "succeeded", "batch")
    assert len(job["output"]["results"]) == len(TEXTS)
    assert stack.api.http.get(f"/v1/jobs/{job_id}/output").json() == job["output"]


def test_a_chat_model_is_not_asked_to_rank(stack: Stack) -> None:
    refused = stack.rank(model="qwen3-14b")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_task")
