"""The dashboard over HTTP: who may see it, who may change something with it, and what it costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator

import httpx
import pytest
from pydantic import SecretStr

from app.api.dashboard.board import Board
from app.api.dashboard.folders import Folders, folders_of
from app.api.dashboard.moments import Moment
from app.api.dashboard.views import JobsView, OverviewView
from app.jobs.gateway import JobGateway
from app.jobs.memory_log import read_memory_log
from app.jobs.record import JobKind, JobState
from app.jobs.search import JobFilter, search
from app.settings import Settings
from tests.integration.conftest import Api
from tests.integration.dashboard_scene import EARS, EMBEDDING, LARGE, SMALL, Scene, asked, with_models

_KEY = "a-key-of-ours"
_OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def home(settings: Settings) -> Settings:
    return with_models(settings)


@pytest.fixture
def scene(home: Settings) -> Iterator[Scene]:
    scene = Scene(home)
    yield scene
    scene.close()


@pytest.fixture
def api(home: Settings, start_api: Callable[..., Api]) -> Api:
    return start_api(home)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this host
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "null"},
    ],
)
def test_what_another_page_or_program_posts_changes_nothing(api: Api, scene: Scene, headers: dict[str, str]) -> None:
    (job,) = scene.queue(asked())
    forms = {f"/dashboard/jobs/{job}/cancel": {}, "/dashboard/jobs": {"text": "Hello"}}
    for path, form in forms.items():
        assert api.http.post(path, data=form, headers=headers).status_code in {400, 403}
    assert [job.state for job in scene.store.list_jobs()] == [JobState.QUEUED]


def test_what_its_own_pages_post_is_done_whichever_way_the_browser_says_so(api: Api, scene: Scene) -> None:
    first, second = scene.queue(asked(), asked())
    assert api.http.post(f"/dashboard/jobs/{first}/cancel", headers=_OURS).headers["location"] == f"/dashboard/jobs/{first}"
    said = api.http.post(f"/dashboard/jobs/{second}/cancel", headers={"Origin": f"http://127.0.0.1:{api.port}", "X-Quiet": "1"})
    assert said.json() == {"said": f"{second} is canceled.", "href": f"/dashboard/jobs/{second}"}
    assert scene.store.count_by_state()[JobState.CANCELED] == 2
    assert api.http.get(f"/dashboard/jobs/{first}/cancel").status_code == 405


def test_no_page_loads_or_runs_anything_of_others_and_none_can_be_framed(api: Api, scene: Scene) -> None:
    (job,) = scene.queue(asked())
    pages = ["", "/jobs", f"/jobs/{job}", "/new", "/static/dashboard.js", "/jobs/job_of_nobody", "/static/nothing"]
    for path in pages:
        policy = api.http.get(f"/dashboard{path}").headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


def test_what_callers_wrote_is_text_and_prompts_and_answers_are_shown_to_who_asks_alone(api: Api, scene: Scene) -> None:
    claimed = scene.run(asked(text="<script>secret</script>"))
    scene.end(claimed, "<img src=x>")
    scene.worker.fail(scene.run(asked()), "engine_error", "<script>alert(1)</script>")
    page = api.http.get(f"/dashboard/jobs/{claimed.id}").text
    assert "secret" not in page
    assert "&lt;img" not in page
    for path in ("/jobs", f"/jobs/{claimed.id}?show=request", f"/jobs/{claimed.id}?show=output"):
        shown = api.http.get(f"/dashboard{path}").text
        assert "&lt;" in shown
        assert not {"<script>", "<img src=x>"} & set(shown.split())
    told = api.http.get(f"/dashboard/jobs/{claimed.id}/output")
    assert told.headers["content-disposition"].startswith("attachment")
    assert told.json()["choices"][0]["message"]["content"] == "<img src=x>"


def test_a_key_opens_the_dashboard_alone_and_only_for_the_browser_that_showed_it(
    home: Settings, scene: Scene, start_api: Callable[..., Api]
) -> None:
    api = start_api(home.model_copy(update={"api_key": SecretStr(_KEY)}))
    scene.queue(*[asked() for _ in range(1234)])
    html = {"Accept": "text/html"}
    with httpx.Client(base_url=f"http://127.0.0.1:{api.port}", trust_env=False) as browser:
        turned_away = browser.get("/dashboard/jobs?state=queued", headers=html)
        assert turned_away.headers["location"] == "/dashboard/key?next=%2Fdashboard%2Fjobs%3Fstate%3Dqueued"
        assert browser.get("/dashboard/events").status_code == 401
        form = browser.get(turned_away.headers["location"])
        assert "1,23" not in form.text
        assert browser.get("/dashboard/static/dashboard.css").status_code == 200
        wrong = browser.post("/dashboard/key", data={"key": "another"}, headers=_OURS)
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
        assert browser.post("/dashboard/key", data={"key": _KEY}).status_code == 403
        opened = browser.post("/dashboard/key", data={"key": _KEY, "next": "//elsewhere.example/dashboard"}, headers=_OURS)
        assert opened.headers["location"] == "/dashboard"
        cookie = opened.headers["set-cookie"]
        assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", "Path=/dashboard"))
        assert _KEY not in cookie
        assert "1,234" in browser.get("/dashboard", headers=html).text
        assert browser.get("/v1/jobs", headers={"Cookie": cookie.partition(";")[0]}).status_code == 401
        assert browser.post("/dashboard/leave").status_code == 403
        browser.post("/dashboard/leave", headers=_OURS)
        assert browser.get("/dashboard", headers=html | {"Cookie": cookie.partition(";")[0]}).status_code == 303


def test_a_filter_that_hardly_anything_passes_looks_so_far_and_says_from_where_to_look_on(scene: Scene) -> None:
    (rare,) = scene.queue(asked(EMBEDDING))
    scene.queue(*[asked(LARGE) for _ in range(20)])
    wanted = JobFilter(kind=JobKind.EMBEDDING)
    first = search(scene.store, wanted, look_at=10)
    assert first.jobs == []
    second = search(scene.store, wanted, after=first.more, look_at=20)
    assert ([job.id for job in second.jobs], second.more) == ([rare], None)
    newest = search(scene.store, JobFilter(model=LARGE, state=JobState.QUEUED), limit=15)
    rest = search(scene.store, JobFilter(model=LARGE), after=newest.more, limit=15)
    assert (len(newest.jobs), len(rest.jobs), rest.more) == (15, 5, None)
    assert newest.jobs[0].created_at >= rest.jobs[-1].created_at
    assert [job.id for job in search(scene.store, JobFilter(text=rare[5:12])).jobs] == [rare]


class Counted:
    """A view that counts who draws it, and how often."""

    def __init__(self) -> None:
        self.drawers = 0
        self.draws = 0

    def drawer(self) -> Counted:
        self.drawers += 1
        return self

    async def draw(self, moment: Moment, gateway: JobGateway) -> dict[str, str]:
        self.draws += 1
        queued = moment.overview.counts[JobState.QUEUED] if moment.overview else 0
        return {"queued": str(queued), "still": "the same"}


def test_ten_who_watch_cost_as_one_and_hear_only_of_what_changed(home: Settings, scene: Scene) -> None:
    async def watch() -> Counted:
        gateway = await JobGateway.open(home)
        board, view = Board(home, gateway), Counted()
        readers = [board.watch(view) for _ in range(10)]
        assert [await anext(reader) for reader in readers] == [{"queued": "0", "still": "the same"}] * 10
        await gateway.read(lambda _: scene.queue(asked()))
        heard = await asyncio.gather(*(anext(reader) for reader in readers))
        assert heard == [{"queued": "1"}] * 10
        for reader in readers:
            await reader.aclose()
        await gateway.close()
        return view

    view = asyncio.run(watch())
    assert view.drawers == 1
    assert view.draws < 10


def test_what_is_new_joins_a_list_that_was_searched_far_for(home: Settings, scene: Scene) -> None:
    scene.queue(asked(EMBEDDING))
    scene.queue(*[asked(LARGE) for _ in range(250)])

    async def look() -> list[str]:
        gateway = await JobGateway.open(home)
        board = Board(home, gateway)
        drawer = JobsView(JobFilter(kind=JobKind.EMBEDDING)).drawer()
        drawn = []
        for _ in range(2):
            moment = Moment()
            drawn.append((await drawer.draw(moment, gateway))["jobs"])
            await gateway.read(lambda _: scene.queue(asked(EMBEDDING)))
        drawn.append((await board.draw(OverviewView()))["queues"])
        await gateway.close()
        return drawn

    first, second, queues = asyncio.run(look())
    assert (first.count("<tr id="), second.count("<tr id=")) == (1, 2)
    assert "250" in queues


def test_recordings_stand_where_the_daemon_says_and_a_file_of_a_later_version_is_passed_over(api: Api, home: Settings) -> None:
    file = {"path": "/music/<interview>.wav", "folder": "/music", "stage": "transcribing", "job": None, "detail": None}
    state = {"pid": 1, "api": None, "folders": [{"path": "/music", "troubles": ["is full"]}]}
    home.daemon_dir.mkdir()
    told = home.daemon_dir / "state.json"
    told.write_text(json.dumps(state | {"files": [file | {"progress": {"done": 30, "total": 90, "unit": "seconds"}}]}))
    page = api.http.get("/dashboard").text
    assert "&lt;interview&gt;.wav" in page
    assert "30 of 90 seconds" in page
    assert "is full" in page
    assert folders_of(state | {"files": "elsewhere"}) == Folders()


def test_a_worker_tells_once_what_came_and_went(scene: Scene) -> None:
    scene.hold(loading=LARGE)
    scene.hold(LARGE)
    scene.hold(LARGE)
    scene.hold(SMALL, EARS)
    told = [(change.what, change.model) for change in read_memory_log(scene.store.client)]
    assert told == [
        ("began", ""),
        ("loading", LARGE),
        ("resident", LARGE),
        ("gone", LARGE),
        ("resident", SMALL),
        ("resident", EARS),
    ]
