"""Models into memory, out of it and off the disk, by whoever runs the machine: the real API before a real worker."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from app.jobs.store import JobStore
from app.jobs.wishes import Wishes
from app.settings import Settings
from tests.integration.conftest import Api
from tests.integration.test_swaps import GB, entry, scripted, working
from tests.integration.test_worker_troubles import until as until_async

StartApi = Callable[..., Api]
_SCRIPTED = 'engine = "tests.scripted_engine:open_frontend"\n'
_PATIENT = 'engine = "tests.troubled_engine:open_patient"\n'


def until(condition: Callable[[], bool]) -> None:
    asyncio.run(until_async(condition))


def ask(api: Api, model: str, script: str = "say 2", **more: object) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": script}], **more}
    assert api.http.post("/v1/chat/completions", json=body).status_code == 200


def catalog_of(folder: Path, *models: str, extra: str = "") -> str:
    return "".join(entry(model, scripted(folder, model), _SCRIPTED + extra) for model in models)


def test_a_model_comes_and_goes_as_it_is_told(settings: Settings, store: JobStore, private_folder: Path, start_api: StartApi) -> None:
    with working(settings, private_folder, catalog_of(private_folder, "one", "two")) as (chosen, worker):
        api = start_api(chosen)
        until(lambda: bool(store.workers()))
        came = api.http.post("/v1/models/ONE/load")
        assert (came.status_code, came.json()["state"]) == (200, "resident")
        assert api.http.post("/v1/models/one/load", json={"keep_alive": "10m"}).json()["resident"]
        assert worker.said("model.loaded") == ["one"]

        went = api.http.post("/v1/models/one/unload")
        assert (went.status_code, went.json()["state"]) == (200, "downloaded")
        assert worker.said("model.unloaded") == ["one"]
        assert api.http.post("/v1/models/one/unload").status_code == 200
        assert api.http.post("/v1/models/two/unload").json()["resident"] is False
        assert api.http.get("/v1/models/one").json()["disk_bytes"] > 0

        ask(api, "one")
        assert worker.said("model.loaded") == ["one", "one"]


def test_the_addresses_of_the_seed_do_the_same(settings: Settings, store: JobStore, private_folder: Path, start_api: StartApi) -> None:
    with working(settings, private_folder, catalog_of(private_folder, "one")) as (chosen, worker):
        api = start_api(chosen)
        until(lambda: bool(store.workers()))
        assert api.http.post("/v1/admin/models/one/load").json()["resident"]
        assert [model["id"] for model in api.http.get("/v1/admin/models").json()["data"] if model["resident"]] == ["one"]
        stats = api.http.get("/v1/admin/models/one/stats").json()
        assert stats.items() >= {"id": "one", "state": "resident", "queued": 0, "running": 0}.items()
        assert api.http.delete("/v1/models", params={"model_name": "one"}).json()["resident"] is False
        assert api.http.post("/v1/admin/models/one/load").json()["resident"]
        assert api.http.post("/v1/admin/models/one/unload").json()["resident"] is False
        assert worker.said("model.unloaded") == ["one", "one"]


def test_a_model_in_use_is_neither_unloaded_nor_removed(
    settings: Settings, private_folder: Path, start_api: StartApi, background: ThreadPoolExecutor
) -> None:
    catalog = entry("slow", scripted(private_folder, "slow"), _PATIENT)
    with working(settings, private_folder, catalog) as (chosen, worker):
        api = start_api(chosen)
        answer = background.submit(ask, api, "slow")
        until((private_folder / "slow" / "loading").exists)
        for method, path in [
            ("POST", "/v1/models/slow/unload"),
            ("POST", "/v1/admin/models/slow/unload"),
            ("DELETE", "/v1/models?model_name=slow"),
            ("DELETE", "/v1/models/slow"),
        ]:
            refused = api.http.request(method, path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_in_use"), path
        assert (
            api.http.get("/v1/admin/models/slow/stats").json()["running"] + (api.http.get("/v1/admin/models/slow/stats").json()["queued"])
        )
        (private_folder / "slow" / "go").touch()
        answer.result()
        assert worker.said("model.unloaded") == []


def test_a_wish_outlives_the_worker_that_was_granting_it(
    settings: Settings, store: JobStore, private_folder: Path, start_api: StartApi
) -> None:
    catalog = entry("slow", scripted(private_folder, "slow"), _PATIENT)
    with working(settings, private_folder, catalog) as (chosen, worker):
        api = start_api(chosen)
        until(lambda: bool(store.workers()))
        later = api.http.post("/v1/models/slow/load", json={"keep_alive": -1}, headers={"Prefer": "respond-async"})
        assert later.status_code == 202
        assert later.headers["preference-applied"] == "respond-async"
        until((private_folder / "slow" / "loading").exists)
        worker.kill()
        (private_folder / "slow" / "go").touch()
        until(lambda: worker.said("model.loaded") == ["slow"])
        # What stays comes back with the next worker, too.
        wishes = Wishes(store)
        until(lambda: (wish := wishes.find("slow")) is not None and wish.until == float("inf"))
        worker.kill()
        until(lambda: worker.said("model.loaded") == ["slow", "slow"])


def test_a_load_that_fails_says_why_and_is_not_tried_again(
    settings: Settings, store: JobStore, private_folder: Path, start_api: StartApi
) -> None:
    catalog = catalog_of(private_folder, "giant", extra='memory = "64GB"')
    catalog += entry("broken", scripted(private_folder, "broken"), 'engine = "tests.troubled_engine:no_such_opener"\n')
    with working(settings, private_folder, catalog, 16 * GB) as (chosen, worker):
        api = start_api(chosen)
        until(lambda: bool(store.workers()))
        giant = api.http.post("/v1/models/giant/load")
        assert (giant.status_code, giant.json()["error"]["code"]) == (400, "model_too_large")
        broken = api.http.post("/v1/models/broken/load")
        assert (broken.status_code, broken.json()["error"]["code"]) == (500, "model_load_failed")
        assert api.http.post("/v1/models/broken/load").status_code == 500
        assert worker.said("model.circuit_opened") == ["broken"]


def test_what_is_pinned_stays_and_what_is_sent_away_stays_away(
    settings: Settings, store: JobStore, private_folder: Path, start_api: StartApi
) -> None:
    catalog = catalog_of(private_folder, "pinned", "brief", extra='memory = "4GB"\nidle_ttl = "0s"\n')
    catalog += catalog_of(private_folder, "always", extra='memory = "1GB"\nresidency = "always"\n')
    with working(settings, private_folder, catalog, 10 * GB) as (chosen, worker):
        api = start_api(chosen)
        until(lambda: worker.said("model.loaded") == ["always"])
        assert api.http.post("/v1/models/always/unload").json()["resident"] is False
        ask(api, "pinned", keep_alive="10m")
        ask(api, "brief")
        until(lambda: worker.said("model.unloaded") == ["always", "brief"])
        ask(api, "pinned")  # one that says nothing leaves the pin
        ask(api, "brief", keep_alive=-1)
        ask(api, "brief", keep_alive=0)
        until(lambda: worker.said("model.unloaded") == ["always", "brief", "brief"])
        assert worker.said("model.loaded", "always") == ["always"]
        assert worker.said("model.loaded", "pinned") == ["pinned"]
        ask(api, "always")
        assert worker.said("model.loaded", "always") == ["always", "always"]


def test_what_was_to_leave_an_earlier_worker_is_no_concern_of_the_next(settings: Settings, store: JobStore, private_folder: Path) -> None:
    wishes = Wishes(store)
    wishes.say("always", "absent")
    with working(settings, private_folder, catalog_of(private_folder, "always", extra='residency = "always"\n')) as (_, worker):
        until(lambda: worker.said("model.loaded") == ["always"])
        until(lambda: not wishes.all())


def test_a_pinned_model_that_had_to_leave_comes_back(
    settings: Settings, store: JobStore, private_folder: Path, start_api: StartApi
) -> None:
    catalog = catalog_of(private_folder, "pinned", "other", extra='memory = "9GB"\nidle_ttl = "0s"\n')
    hasty = settings.model_copy(update={"max_wait": timedelta(seconds=1)})
    with working(hasty, private_folder, catalog, 10 * GB) as (chosen, worker):
        api = start_api(chosen)
        until(lambda: bool(store.workers()))
        assert api.http.post("/v1/models/pinned/load", json={"keep_alive": -1}).json()["resident"]
        ask(api, "other")  # it can never be served beside what is pinned
        until(lambda: worker.said("model.loaded") == ["pinned", "other", "pinned"])


def test_without_a_worker_a_load_is_a_receipt_and_an_unload_is_done(api: Api, store: JobStore) -> None:
    assert api.http.post("/v1/models/tiny-chat/load").status_code == 202
    assert Wishes(store).find("tiny-chat") is not None
    assert api.http.post("/v1/models/tiny-chat/unload").status_code == 200
    assert Wishes(store).find("tiny-chat") is None


@pytest.mark.parametrize("keep_alive", [-2, "soon", True, [], "1e9d"])
def test_how_long_is_said_in_seconds_or_as_a_duration(api: Api, keep_alive: object) -> None:
    for path, more in [("/v1/models/tiny-chat/load", {}), ("/v1/embeddings", {"input": "a"})]:
        refused = api.http.post(path, json={"keep_alive": keep_alive, **more})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "keep_alive"


def test_removing_takes_the_files_of_the_hubs_cache_and_says_what_it_refuses(
    settings: Settings, store: JobStore, private_folder: Path, start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = private_folder / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    repo = cache / "models--org--cached"
    snapshot = repo / "snapshots" / ("c0ffee" + "0" * 34)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(snapshot.name)
    (repo / "blobs").mkdir()
    for name, content in {"config.json": b"{}", "model.safetensors": bytes(1000)}.items():
        (repo / "blobs" / name).write_bytes(content)
        (snapshot / name).symlink_to(repo / "blobs" / name)
    catalog = f'[[model]]\nid = "cached"\nrepo = "org/cached"\ntasks = ["chat"]\n{_SCRIPTED}' + catalog_of(private_folder, "own")
    with working(settings, private_folder, catalog) as (chosen, _):
        api = start_api(chosen)
        until(lambda: bool(store.workers()))
        assert api.http.get("/v1/models/cached").json()["disk_bytes"] == 1002
        assert api.http.post("/v1/models/org/cached/load").json()["id"] == "cached"
        refused = api.http.delete("/v1/models/org/cached")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_in_use")
        assert api.http.post("/v1/models/org/cached/unload").status_code == 200
        removed = api.http.delete("/v1/models/org/cached")
        assert removed.json() == {"id": "cached", "object": "model", "deleted": True, "freed_bytes": 1002}
        assert not repo.exists()
        gone = api.http.delete("/v1/models/org/cached")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "model_not_downloaded")
        assert api.http.post("/v1/models/cached/load").status_code == 404
        own = api.http.delete("/v1/models/own")
        assert own.status_code == 400
        assert "delete it yourself" in own.json()["error"]["message"]
        for method, path in [("POST", "load"), ("POST", "unload"), ("POST", "pull"), ("DELETE", "")]:
            assert api.http.request(method, f"/v1/models/nothing/{path}".rstrip("/")).status_code == 404
    shutil.rmtree(cache)
