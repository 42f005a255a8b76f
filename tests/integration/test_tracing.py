"""One trace from a caller's header to the engine, where somebody collects spans; and nothing of it where nobody does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from app.jobs.chains import Chains, Child, Plan
from app.jobs.claims import Claimed
from app.jobs.record import JobKind, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings
from tests.integration.conftest import Api
from tests.integration.worker_process import WorkerProcess, scripted_catalog
from tests.otlp_receiver import OtlpReceiver, facts_of

_ROOT = Path(__file__).parents[2]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    with OtlpReceiver() as receiver:
        yield receiver


def test_a_trace_leads_from_the_callers_header_through_the_request_to_the_parts_of_its_job(
    settings: Settings, private_folder: Path, start_api: Callable[..., Api], receiver: OtlpReceiver
) -> None:
    settings = settings.model_copy(update={"catalog": scripted_catalog(private_folder), "traces": receiver.address})
    api = start_api(settings)
    worker = WorkerProcess(settings, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.address)  # the other way to say it
    worker.start()
    for script in ("say 5", "refuse"):
        chat = {"model": "scripted", "messages": [{"role": "user", "content": script}]}
        api.http.post("/v1/chat/completions", json=chat, headers={"traceparent": TRACEPARENT})
    worker.stop()

    spans = receiver.wait_for(lambda spans: [span.name for span in spans].count("job chat") == 2 and len(requests_of(spans)) == 2)
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    served, failed = sorted(requests_of(spans), key=lambda span: span.start_time_unix_nano)
    assert served.parent_span_id.hex() == CALLER
    assert facts_of(served).items() >= {"http.route": "/v1/chat/completions", "http.response.status_code": 200}.items()
    (job,) = children_of(served, spans)
    parts = children_of(job, spans)
    assert [part.name for part in parts] == ["queue", "model wait", "prefill", "decode"]
    assert (
        facts_of(job).items() >= {"gen_ai.request.model": "scripted", "gen_ai.usage.output_tokens": 5, "mlx_local.job.attempt": 1}.items()
    )
    assert facts_of(job)["mlx_local.job.id"] == facts_of(served)["mlx_local.job.id"]
    ends = [part.end_time_unix_nano for part in parts]
    assert ends == sorted(ends)
    assert all(job.start_time_unix_nano <= part.start_time_unix_nano <= part.end_time_unix_nano <= job.end_time_unix_nano for part in parts)
    (refused,) = children_of(failed, spans)
    assert facts_of(refused)["error.type"] == "engine_error"
    assert (served.status.code, failed.status.code, refused.status.code) == (
        Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR, Status.STATUS_CODE_ERROR,
    )  # fmt: skip
    assert not any("say 5" in str(span) for span in spans)


def requests_of(spans: Sequence[Span]) -> list[Span]:
    return [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]


def children_of(parent: Span, spans: Sequence[Span]) -> list[Span]:
    return sorted((span for span in spans if span.parent_span_id == parent.span_id), key=lambda span: span.start_time_unix_nano)


def test_children_belong_to_the_span_of_their_parent(store: JobStore) -> None:
    new = NewJob(kind=JobKind.OCR, model="m", lane=Lane.BATCH, request={}, waited=False, traceparent=TRACEPARENT)
    store.submit(new, max_queued=9)
    parent = store.claim(new.id, 1, worker="home-w", token="t")
    assert isinstance(parent, Claimed)
    Chains(store).plan(parent, Plan(children=(Child(kind=JobKind.OCR, model="m", request={}),)))
    child = store.claim(f"{new.id}.0", 1, worker="home-w", token="u")
    assert isinstance(child, Claimed)
    assert parent.traceparent == child.traceparent == TRACEPARENT


def test_a_collector_that_is_away_costs_no_answer_and_no_stop(api_settings: Settings, start_api: Callable[..., Api]) -> None:
    api = start_api(api_settings.model_copy(update={"traces": "http://127.0.0.1:9"}))
    for _ in range(3):
        assert api.http.get("/health").status_code == 200


@pytest.mark.parametrize("switch", ["", "MLX_LOCAL_TRACES", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_opentelemetry_is_loaded_by_those_alone_who_want_it(switch: str, settings: Settings) -> None:
    program = """
import sys
from app.actors.observing import Observer
from app.api.application import create_app
from app.settings import load_settings
from app.tracing import open_traces

settings = load_settings()
create_app(settings)
traces = open_traces(settings, "worker")
sender = "opentelemetry.exporter.otlp.proto.http.trace_exporter"  # redis-py may look into OpenTelemetry for its own ends
print(traces is not None, sender in sys.modules, "app.tracing_otel" in sys.modules)
"""
    environment = {"PATH": "", "MLX_LOCAL_HOME": str(settings.home), "PYTHONPATH": str(_ROOT)}
    environment |= {switch: "http://127.0.0.1:9"} if switch else {}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [str(bool(switch))] * 3, said.stderr
