"""Where the workers are, what each has in memory, and what is wrong with one, as people and programs are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from app.actors.presence import Presence
from app.actors.sharing import SharedQueues
from app.jobs import keys
from app.jobs.decoding import ModelState
from app.jobs.store import JobStore
from app.jobs.work import WORK_VERSION
from app.jobs.workers import lives_elsewhere
from app.models.catalog import Catalog
from app.settings import Settings
from tests.integration.command import mlx_local
from tests.integration.conftest import Api

GB = 10**9
_NO_MODELS = Catalog({}, {})


def appear(store: JobStore, name: str, *models: str, remote: bool = False, **facts: str | float) -> None:
    presence = Presence(store, name, remote=remote)
    for model in models:
        presence.report(model, ModelState(state="resident", bytes=GB))
    presence.report_memory(len(models) * GB, 16 * GB, short=False)
    presence.beat()
    said: dict[Any, Any] = dict(facts)
    store.client.hset(keys.worker(name), mapping=said)


def test_status_doctor_and_watch_tell_of_each_worker_and_of_what_is_wrong_with_it(settings: Settings, store: JobStore) -> None:
    appear(store, "aaa-1", "chat", host="studio")
    appear(store, "bbb-1", "ears", "voice", remote=True, host="mini", clock_offset_s=-2.5, work_version=WORK_VERSION - 1)
    outdated = f"The worker on mini is outdated: it knows work up to version {WORK_VERSION - 1}, and there is version {WORK_VERSION}."
    slow = "The clock of mini is 2.5 s behind that of Redis."

    printed = mlx_local(settings, "status").stdout
    lines = printed.splitlines()
    assert any(line.startswith("Worker     studio: aaa-1, ") and line.endswith("in memory: chat") for line in lines)
    assert any(line.startswith("Worker     mini (another machine): bbb-1, ") and line.endswith("in memory: ears, voice") for line in lines)
    assert "2.0 of 16.0 GB are used or reserved by models on mini" in printed
    assert outdated in printed
    assert slow in printed
    assert "studio: chat" in mlx_local(settings, "jobs", "watch").stdout
    told = json.loads(mlx_local(settings, "status", "--json").stdout)["store"]["workers"]
    assert [(one["host"], one["remote"], one["in_memory"], len(one["troubles"])) for one in told] == [
        ("studio", False, ["chat"], 0),
        ("mini", True, ["ears", "voice"], 2),
    ]
    examined = json.loads(mlx_local(settings, "doctor", "--json", HF_HUB_OFFLINE="1").stdout)["checks"]
    checks = {check["name"]: check for check in examined}
    assert checks["worker aaa-1"]["status"] == "ok"
    assert checks["worker bbb-1"]["status"] == "warning"
    assert slow in checks["worker bbb-1"]["mend"]


def test_whoever_has_the_name_of_a_home_on_another_machine_is_seen(store: JobStore) -> None:
    appear(store, "aaa-1", "chat", remote=False, version="1")
    appear(store, "bbb-1", host="another")
    assert [lives_elsewhere(store.client, home) for home in ("aaa", "bbb", "ccc")] == [False, True, False]


def test_the_dashboard_shows_the_same(api_settings: Settings, store: JobStore, start_api: Callable[..., Api]) -> None:
    appear(store, "aaa-1", "chat", host="studio")
    appear(store, "bbb-1", "ears", remote=True, host="<mini>", clock_offset_s=3.0)
    page = start_api(api_settings).http.get("/dashboard").text
    assert "in memory: ears" in page
    assert "The clock of &lt;mini&gt; is 3.0 s ahead of that of Redis." in page


def test_each_machine_fetches_its_own_downloads_and_a_remote_one_opens_no_queue_of_models_that_it_does_not_know() -> None:
    main, remote = (SharedQueues("cafe", remote=remote, catalog=lambda: _NO_MODELS) for remote in (False, True))
    widths = {
        queue: (main.first_limit(queue), remote.first_limit(queue))
        for queue in ("download", "download_cafe", "download_beef", "lost_batch", "download_batch", "quarantine")
    }
    assert widths == {
        "download": (2, 0),
        "download_cafe": (0, 2),
        "download_beef": (0, 0),
        "lost_batch": (1, 0),
        "download_batch": (1, 0),  # of a model of that name
        "quarantine": (1, 1),
    }
