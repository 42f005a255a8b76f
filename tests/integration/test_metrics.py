"""What ``/metrics`` says: true, the same from every API, never less than before, and nothing that callers may choose."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import promql_parser
import pytest
from pydantic import SecretStr

from app.actors.presence import Presence
from app.api.request_series import SERVED
from app.jobs import keys
from app.jobs.broker import Announcer, InferenceBroker
from app.jobs.decoding import ModelState
from app.jobs.rescue import rescue_home, rescue_silent
from app.jobs.series import COUNTED, CRASHES, OUTPUT_TOKENS, Cell, Series
from app.jobs.store import JobStore
from app.jobs.tally import Courier, Tally
from app.settings import Settings
from tests.conftest import RedisServer
from tests.integration.conftest import Api
from tests.integration.fake_worker import FakeWorker
from tests.integration.worker_process import WorkerProcess, scripted_catalog
from tests.scrapes import OPENMETRICS, Scrape, complaints_of, scrape

_DOCS = Path(__file__).parents[2] / "docs"


def ask(api: Api, script: str) -> None:
    api.openai.chat.completions.create(model="scripted", messages=[{"role": "user", "content": script}])


def begin(api: Api, script: str) -> str:
    """Submit a job, and return its id once it has published something."""
    request = {"model": "scripted", "messages": [{"role": "user", "content": script}]}
    job_id = str(api.http.post("/v1/jobs", json={"kind": "chat", "request": request}).json()["id"])
    with api.http.stream("GET", f"/v1/jobs/{job_id}/events") as events:
        for line in events.iter_lines():
            if '"tokens"' in line:
                return job_id
    raise AssertionError(job_id)


def of_store(seen: Scrape) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return what is counted in the store, and not by the process that was asked."""
    own = ("mlx_local_http_", "process_", "mlx_local_worker_cpu")
    return {sample: value for sample, value in seen.counters.items() if not sample[0].startswith(own)}


def test_no_number_is_lost_doubled_or_taken_back_when_workers_stop_die_and_begin_anew(
    settings: Settings, private_folder: Path, start_api: Callable[..., Api]
) -> None:
    settings = settings.model_copy(update={"catalog": scripted_catalog(private_folder)})
    one, other = start_api(settings), start_api(settings)
    first = WorkerProcess(settings)
    first.start()
    ask(one, "say 5")
    first.stop()
    before = scrape(one.http)
    labels = {"model": "scripted"}
    assert before.value("mlx_local_output_tokens_total", **labels) == 5
    assert before.value("mlx_local_prompt_tokens_total", **labels) == len("say 5")
    assert before.value("mlx_local_inter_token_seconds_count", **labels) == 4
    assert before.value("mlx_local_time_to_first_token_seconds_count", lane="interactive", **labels) == 1
    assert before.value("mlx_local_model_load_seconds_count", **labels) == 1
    assert before.value("mlx_local_worker_crashes_total") == 0
    assert of_store(before) == of_store(scrape(other.http))

    second = WorkerProcess(settings)
    second.start()
    job_id = begin(other, "say 300")
    second.kill()
    with other.http.stream("GET", f"/v1/jobs/{job_id}/events") as events:
        events.read()  # to its end, by the worker after that
    assert second.stop() == 0
    after = scrape(other.http)
    assert after.value("mlx_local_worker_crashes_total") == 1
    assert after.value("mlx_local_job_rescues_total", outcome="requeued") == 1
    for move, count in {"submitted": 2, "started": 3, "requeued": 1, "succeeded": 2, "failed": 0}.items():
        assert after.value("mlx_local_job_moves_total", kind="chat", move=move) == count, move
    assert after.value("mlx_local_jobs", kind="chat", state="succeeded") == 2
    # What the second worker counted just before it was killed may have gone with it.
    assert after.value("mlx_local_model_load_seconds_count", **labels) >= 2
    grown = of_store(after)
    assert {sample: (value, grown[sample]) for sample, value in of_store(before).items() if grown[sample] < value} == {}
    assert grown == of_store(scrape(one.http))


def test_what_is_delivered_twice_is_counted_once_and_what_was_not_delivered_goes_with_the_next(store: JobStore, api: Api) -> None:
    tally = Tally()
    courier = Courier(store.client, "home-1", tally)

    def deliver(*, answered: bool) -> None:
        pipe = store.client.pipeline(transaction=True)
        courier.queue(pipe)
        pipe.execute()
        if answered:
            courier.delivered()

    tally.count(OUTPUT_TOKENS, "m", by=3)
    deliver(answered=False)
    tally.count(OUTPUT_TOKENS, "m", by=4)
    deliver(answered=True)  # the same three again
    assert scrape(api.http).value("mlx_local_output_tokens_total") == 3
    deliver(answered=True)
    deliver(answered=True)
    assert scrape(api.http).value("mlx_local_output_tokens_total") == 7


def fill(tally: Tally, *series: Series) -> None:
    for one in series:
        labels = ["tiny-chat" if name == "model" else f"a {name}" for name in one.labels]
        if one.buckets:
            for value in (0.0, one.buckets[0], one.buckets[-1] * 2):
                tally.observe(one, *labels, value=value)
        else:
            tally.count(one, *labels, by=0.5)


@pytest.fixture
def told(store: JobStore, api: Api) -> Api:
    """An API with a job that waits, and a worker that tells of everything that can be told."""
    api.http.post("/v1/jobs", json={"kind": "chat", "request": {"messages": [{"role": "user", "content": "x"}]}}).raise_for_status()
    tally = Tally()
    fill(tally, *COUNTED)
    presence = Presence(store, "home-1", tally)
    presence.report("tiny-chat", ModelState(state="resident", bytes=7))
    presence.report_memory(5, 10, 0, short=False)
    presence.report_rate("tiny-chat", 3.0)
    presence.beat()
    return api


def test_both_formats_can_be_read_strictly_and_say_the_same(told: Api) -> None:
    told.http.get("/health")
    text, openmetrics = scrape(told.http), scrape(told.http, openmetrics=True)
    assert text.families.keys() == openmetrics.families.keys()
    assert of_store(text) == of_store(openmetrics)
    for name in ("mlx_local_job_wait_seconds", "mlx_local_hearing_real_time_factor"):
        assert text.value(f"{name}_bucket", le="+Inf") == text.value(f"{name}_count") == 3
    assert told.http.get("/metrics", headers={"Accept": OPENMETRICS}).headers["content-type"].startswith("application/openmetrics-text")
    if promtool := shutil.which("promtool"):
        said = subprocess.run([promtool, "check", "metrics"], input=told.http.get("/metrics").content, capture_output=True, check=False)
        assert (said.returncode, said.stdout + said.stderr) == (0, b"")


def test_every_series_is_in_the_docs_with_its_type_and_labels_and_none_beside(told: Api) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|$", (_DOCS / "metrics.md").read_text(), re.MULTILINE)
    families = scrape(told.http, openmetrics=True).families.values()
    told_of = {
        (family.name + ("_total" if family.type == "counter" else ""), family.type, _labels(*(set(one.labels) for one in family.samples)),
         family.documentation)
        for family in families
    }  # fmt: skip
    assert {(name, kind, labels.strip(), about) for name, kind, labels, about in rows} == told_of
    assert all(family.samples for family in families)
    assert [wrong for family in families for wrong in complaints_of(family)] == []


def _labels(*sets: set[str]) -> str:
    return ", ".join(f"`{label}`" for label in sorted(set().union(*sets) - {"le"}))


def test_the_grafana_dashboard_asks_for_series_and_labels_that_exist(told: Api) -> None:
    told.http.get("/health")
    labels: dict[str, set[str]] = {}
    for family in scrape(told.http).families.values():
        for sample in family.samples:
            labels.setdefault(sample.name, {"instance", "job"}).update(sample.labels)
    dashboard = json.loads((_DOCS / "grafana" / "mlx-local-inference.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    choices = [variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    queries += [re.sub(r"^label_values\((\w+), (\w+)\)$", r"count by (\2) (\1)", choice) for choice in choices]
    asked = [asked_for(re.sub(r"\$__\w+", "5m", query).replace("$job", ".*")) for query in queries]
    assert len(asked) > 40
    for query, (names, used) in zip(queries, asked, strict=True):
        assert names, query
        assert names <= labels.keys(), query
        assert used <= set.union(*(labels[name] for name in names)), query
    shared = {f"mlx_local_{series.name}" for series in COUNTED}
    forgotten = shared - {re.sub(r"_(bucket|sum|count)$", "", name) for names, _ in asked for name in names}
    assert forgotten == set()


def asked_for(query: str) -> tuple[set[str], set[str]]:
    """Return the series that a PromQL query reads, and the labels that it names."""
    names: set[str] = set()
    labels: set[str] = set()

    def visit(node: object) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql_parser.VectorSelector):
            names.add(str(node.name))
            labels.update(matcher.name for matcher in node.matchers.matchers)
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            labels.update(node.modifier.labels)

    promql_parser.walk(promql_parser.parse(query), visit)
    return names, labels


def test_requests_are_counted_by_route_and_never_by_what_their_callers_wrote(api: Api) -> None:
    for path in ("/v1/jobs/job_secret", "/v1/models/secret", "/secret", "/v1/jobs?after=secret"):
        api.http.get(path)
    api.http.request("PROPFIND", "/health")
    api.http.post("/v1/chat/completions", json={"model": "secret", "messages": [{"role": "user", "content": "secret"}]})
    seen = scrape(api.http)
    for labels in (
        {"method": "GET", "route": "/v1/jobs/{job_id}", "status": "404"},
        {"method": "GET", "route": "none", "status": "404"},
        {"method": "POST", "route": "/v1/chat/completions", "status": "404"},
        {"method": "other", "status": "405"},
    ):
        assert seen.value("mlx_local_http_requests_total", **labels) == 1, labels
    assert seen.value("mlx_local_http_request_seconds_count", route="/v1/jobs/{job_id}") == 1
    assert "secret" not in api.http.get("/metrics").text.casefold()


def test_queues_are_told_by_model_and_lane_with_the_age_of_their_heads_and_errors_by_code(api: Api, worker: FakeWorker) -> None:
    request = {"messages": [{"role": "user", "content": "x"}]}
    for _ in range(3):
        api.http.post("/v1/jobs", json={"kind": "chat", "request": request}).raise_for_status()
    worker.fail(worker.claim(), "engine_error", "It broke.")
    worker.fail(worker.claim(), "what_a_later_version_knows", "It broke.")
    seen = scrape(api.http)
    head = {"queue": "tiny-chat_batch", "model": "tiny-chat", "lane": "batch"}
    assert seen.value("mlx_local_queue_jobs", **head) == 1
    assert seen.value("mlx_local_queue_oldest_job_seconds", **head) > 0
    assert seen.value("mlx_local_queue_oldest_job_seconds", queue="tiny-chat_interactive") == 0
    for code in ("engine_error", "other"):
        assert seen.value("mlx_local_job_errors_total", kind="chat", code=code) == 1
    assert [seen.value("mlx_local_jobs", kind="chat", state=state) for state in ("queued", "failed")] == [1, 2]


def test_without_redis_a_process_tells_of_itself_and_says_so(api: Api, redis_server: RedisServer) -> None:
    assert scrape(api.http).value("mlx_local_store_up") == 1
    redis_server.kill()
    alone = scrape(api.http)
    assert alone.value("mlx_local_store_up") == 0
    assert alone.value("process_resident_memory_bytes") > 0
    assert not any(family.startswith(("mlx_local_queue", "mlx_local_job")) for family in alone.families)
    redis_server.start()
    assert scrape(api.http).value("mlx_local_store_up") == 1


def test_workers_of_other_homes_that_fell_silent_are_crashes_and_each_is_counted_once(settings: Settings, store: JobStore) -> None:
    broker, tally = InferenceBroker(settings, broker_id="worker:home-1"), Tally()
    announcer = Announcer(broker, store)
    Presence(store, "home-1").beat()
    Presence(store, "other-1").beat()
    store.client.sadd(keys.WORKERS, "silent-1", "silent-2")
    for _ in range(2):
        rescue_silent(store, announcer, "home-1", tally)
    rescue_home(store, broker, announcer, "other-2", {}, tally)
    assert tally.numbers() == {Cell(CRASHES.name, ()): 3}


def test_metrics_need_the_key_that_everything_needs(api_settings: Settings, start_api: Callable[..., Api]) -> None:
    api = start_api(api_settings.model_copy(update={"api_key": SecretStr("a-key")}))
    assert api.http.get("/metrics").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{api.port}/metrics", trust_env=False).status_code == 401
    assert "a-key" not in api.http.get("/metrics").text
    assert {series.name for series in SERVED}.isdisjoint(series.name for series in COUNTED)
