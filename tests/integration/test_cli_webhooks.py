"""What users do with webhooks from a terminal: their secret, their deliveries, and the receiver of our page."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable

from app.api.services import Pace
from app.api.webhooks.tries import Tries
from app.jobs.deliveries import Deliveries
from app.jobs.hooks import Webhook
from app.jobs.record import JobKind, JobState, Lane
from app.jobs.store import JobStore
from app.jobs.submission import NewJob
from app.settings import Settings
from app.webhook_secret import webhook_secret_path, webhook_secrets
from tests.documented import program_of
from tests.integration.command import mlx_local
from tests.integration.conftest import Api


def test_the_secret_is_made_once_shown_and_changed(settings: Settings) -> None:
    first = mlx_local(settings, "webhooks", "secret").stdout.strip()
    assert first.startswith("whsec_")
    assert mlx_local(settings, "webhooks", "secret").stdout.strip() == first
    second = mlx_local(settings, "webhooks", "secret", "--rotate").stdout.strip()
    assert webhook_secrets(settings.home) == (second, first)
    assert stat.S_IMODE(webhook_secret_path(settings.home).stat().st_mode) == 0o600


def test_a_delivery_is_seen_cancelled_and_retried_while_no_api_runs(settings: Settings, store: JobStore) -> None:
    hook = Webhook(url="http://one/?token=of-the-receiver", receiver="http://one:80")
    new = NewJob(kind=JobKind.CHAT, model="m", lane=Lane.BATCH, request={}, waited=False, webhook=hook)
    store.cancel(store.submit(new, max_queued=9).job_id)
    (delivery,) = store.list_jobs(kind=JobKind.WEBHOOK)
    assert delivery.id in mlx_local(settings, "jobs", "list", "--kind", "webhook").stdout
    shown = mlx_local(settings, "jobs", "show", delivery.id).stdout
    assert f"event        canceled of {new.id}\n" in shown
    assert "of-the-receiver" not in shown
    assert mlx_local(settings, "jobs", "cancel", delivery.id).returncode == 0
    assert store.get(delivery.id).state is JobState.CANCELED
    assert mlx_local(settings, "jobs", "retry", delivery.id).returncode == 0
    (again,) = Deliveries(store).take(most=9, most_each=9, busy={}, lease_s=15)
    assert again.id != delivery.id
    assert again.told.job == new.id


def test_the_receiver_of_our_page_believes_us_and_nobody_else(api_settings: Settings, start_api: Callable[..., Api]) -> None:
    api = start_api(api_settings.model_copy(update={"private_webhooks": True}), Pace(webhooks=Tries(look_s=0.05, waits_s=(0.2,))))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = program_of("webhooks").replace("9000", str(port))
    environment = {**os.environ, "OPENAI_WEBHOOK_SECRET": webhook_secrets(api_settings.home)[0]}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as page:
        try:
            body = {"kind": "chat", "request": {"messages": [{"role": "user", "content": "Hello"}]}, "webhook": f"http://127.0.0.1:{port}/"}
            job_id = api.http.post("/v1/jobs", json=body).json()["id"]
            api.http.post(f"/v1/jobs/{job_id}/cancel")
            assert page.stdout is not None
            assert page.stdout.readline() == f"job.canceled {job_id}\n"
            assert api.http.post(f"http://127.0.0.1:{port}/", json={"id": "evt_forged"}).status_code == 400
        finally:
            page.kill()
