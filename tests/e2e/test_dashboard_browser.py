"""The dashboard in a real browser: it is used, watched, and must neither complain nor ask for anything elsewhere."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, expect
from pydantic import ByteSize, SecretStr

from app.jobs.record import JobState, Lane
from app.settings import Settings
from tests.browser import Tab, chromium
from tests.conftest import RedisServer
from tests.integration.conftest import Api, running
from tests.integration.dashboard_scene import EARS, EMBEDDING, GB, LARGE, SMALL, Scene, asked, with_models
from tests.integration.worker_process import WorkerProcess

# Read here: the fixture of settings clears our variables. None: the pictures are taken, looked through, and not kept.
_PICTURES = Path(__file__).parents[2] / "docs" / "images" if os.environ.get("MLX_LOCAL_TEST_SCREENSHOTS") else None
_KEY = "a-key-of-ours"


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserContext]:
    with chromium() as context:
        yield context


@pytest.fixture
def home(settings: Settings) -> Settings:
    return with_models(settings)


@pytest.fixture
def api(home: Settings) -> Iterator[Api]:
    with running(home) as api:
        yield api


@pytest.fixture
def scene(home: Settings) -> Iterator[Scene]:
    scene = Scene(home)
    yield scene
    scene.close()


@pytest.fixture
def tab(browser: BrowserContext, api: Api) -> Iterator[Tab]:
    browser.clear_cookies()
    page = browser.new_page()
    page.set_viewport_size({"width": 1280, "height": 900})
    tab = Tab(page, f"http://127.0.0.1:{api.port}")
    yield tab
    page.close()
    assert tab.complaints == []


def test_a_job_is_submitted_watched_and_its_texts_are_shown_to_who_asks(tab: Tab, scene: Scene) -> None:
    scene.hold(LARGE)
    page = tab.open("/new")
    page.get_by_label("Text").fill("Why is the <b>sky</b> blue?")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(re.compile(r"/jobs/job_\w+$"))
    facts = page.locator("#job")
    expect(facts.locator("header .state")).to_have_text("queued")
    claimed = scene.worker.claim()
    expect(facts.locator("header .state")).to_have_text("running")
    scene.worker.say(claimed, "Because ", ids=range(7))
    expect(facts).to_contain_text("7 tokens")
    scene.end(claimed, "Because air scatters <i>blue</i> light.")
    expect(facts.locator("header .state")).to_have_text("succeeded")
    assert "sky" not in page.content()
    page.get_by_role("link", name="Show what was asked").click()
    expect(page.locator("#content")).to_contain_text("Why is the <b>sky</b> blue?")
    page.get_by_role("link", name="Show what came of it").click()
    expect(page.locator("#content .said-text")).to_have_text("Because air scatters <i>blue</i> light.")


def test_a_form_that_cannot_be_taken_says_why_and_keeps_what_was_typed(tab: Tab) -> None:
    page = tab.open("/new")
    page.get_by_label("Kind").select_option("embedding")
    page.get_by_label("Model").select_option(LARGE)
    page.get_by_label("Text").fill("of no use")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("embedding")
    expect(page.get_by_label("Text")).to_have_value("of no use")
    tab.complaints.clear()  # the browser tells of the status 400


def test_a_swap_of_a_real_worker_is_watched(tab: Tab, home: Settings, scene: Scene) -> None:
    worker = WorkerProcess(home.model_copy(update={"memory_budget": ByteSize(12 * GB)}))
    worker.start()
    try:
        page = tab.open()
        scene.queue(asked(LARGE, text="say 3"))
        expect(page.locator("#memory .happenings")).to_contain_text(re.compile(rf"{LARGE}\s+came"))
        scene.queue(asked(SMALL, text="say 3"))
        expect(page.locator("#memory .happenings")).to_contain_text(re.compile(rf"{LARGE}\s+left"))
        expect(page.locator("#memory .happenings")).to_contain_text(re.compile(rf"{SMALL}\s+came"))
        expect(page.get_by_role("img", name=f"{LARGE}: not in memory")).to_be_visible()
        expect(page.get_by_role("img", name=f"{SMALL}: in memory")).to_be_visible()
        expect(page.locator("#workers")).to_contain_text("alive")
    finally:
        worker.stop()
    expect(page.locator("#workers")).to_contain_text("No worker is running.")


def test_jobs_are_cancelled_and_retried_with_the_keyboard_alone(tab: Tab, scene: Scene) -> None:
    first, second = scene.queue(asked(), asked())
    page = tab.open("/jobs")
    tab.press_until("Skip to content")
    tab.press_until(f"Cancel {second}")
    page.keyboard.press("Enter")
    row = page.locator(f"#{second}")
    expect(row.locator(".state")).to_have_text("canceled")
    expect(page.locator("#said")).to_contain_text("is canceled.")
    scene.fail(scene.claim(first))
    expect(page.locator(f"#{first} .state")).to_have_text("failed")
    page.keyboard.press("Home")
    tab.press_until(f"Retry {first}")
    page.keyboard.press("Enter")
    expect(page.locator("#jobs tbody tr")).to_have_count(3)
    expect(page.locator("#said")).to_contain_text("is queued.")
    tab.press_until("Show it")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/jobs/job_\w+$"))
    expect(page.get_by_role("link", name=first)).to_be_visible()


def test_a_filter_works_while_it_is_typed_and_what_comes_later_has_to_pass_it(tab: Tab, scene: Scene) -> None:
    scene.queue(asked(LARGE), asked(SMALL), asked(EMBEDDING))
    running = scene.run(asked(EMBEDDING))
    page = tab.open("/jobs")
    rows = page.locator("#jobs tbody tr")
    expect(rows).to_have_count(4)
    page.get_by_label("Kind").select_option("embedding")
    expect(rows).to_have_count(2)
    page.get_by_label("Id").press_sequentially(running.id[4:14])
    expect(rows).to_have_count(1)
    assert page.evaluate("document.activeElement.name") == "text"
    page.reload()
    expect(rows).to_have_count(1)
    page.get_by_label("Id").fill("")
    expect(rows).to_have_count(2)
    scene.queue(asked(LARGE), asked(EMBEDDING))
    expect(rows).to_have_count(3)
    page.get_by_role("link", name=re.compile("^Running")).first.click()
    page.locator("#states").get_by_role("link", name=re.compile("^Running")).click()
    expect(rows).to_have_count(1)
    expect(rows.first.locator(".state")).to_have_text("running")


def test_every_page_fits_a_phone_and_keeps_nobody_out_in_light_and_dark(tab: Tab, scene: Scene) -> None:
    scene.have_a_past(20)
    scene.hold(EMBEDDING, LARGE)
    scene.deny(SMALL, LARGE)
    scene.queue(asked(LARGE), asked(SMALL))
    scene.download(SMALL, 10**9, 3 * 10**9)
    whole = scene.divide(parts=5, done=2)
    failed = scene.store.list_jobs(state=JobState.FAILED)[0].id
    for path in ("", "/jobs", f"/jobs/{whole}", f"/jobs/{failed}?show=request", "/new"):
        page = tab.open(path)
        page.emulate_media(color_scheme="dark")
        assert tab.barriers("color-contrast") == [], path
        page.emulate_media(color_scheme="light")
        assert tab.barriers() == [], path
        page.set_viewport_size({"width": 360, "height": 740})
        assert tab.overflow() <= 0, path
        page.set_viewport_size({"width": 1280, "height": 900})


def test_the_theme_is_the_systems_until_another_is_chosen(tab: Tab) -> None:
    page = tab.open()

    page.emulate_media(color_scheme="light")
    light = tab.ground()
    page.emulate_media(color_scheme="dark")
    dark = tab.ground()
    assert light != dark
    page.get_by_role("button", name="Theme: auto").click()
    assert tab.ground() == light
    page.reload()
    assert tab.ground() == light
    page.get_by_role("button", name="Theme: light").click()
    assert tab.ground() == dark


def test_a_store_that_is_gone_is_told_and_the_page_goes_on_when_it_is_back(tab: Tab, scene: Scene, redis_server: RedisServer) -> None:
    scene.queue(asked())
    page = tab.open()
    expect(page.locator("#waiting .rows li")).to_have_count(1)
    redis_server.kill()
    expect(page.locator("#head")).to_contain_text("does not answer")
    redis_server.start()
    expect(page.locator("#head")).not_to_contain_text("does not answer")
    scene.queue(asked())
    expect(page.locator("#waiting .rows li")).to_have_count(2)


def test_who_has_no_key_is_asked_for_it_and_sees_nothing_before(browser: BrowserContext, home: Settings, scene: Scene) -> None:
    browser.clear_cookies()
    scene.queue(asked())
    with running(home.model_copy(update={"api_key": SecretStr(_KEY)})) as api:
        page = browser.new_page()
        tab = Tab(page, f"http://127.0.0.1:{api.port}")
        page.goto(f"{tab.origin}/dashboard/jobs?state=queued")
        assert tab.barriers() == []
        assert "job_" not in page.content()
        page.get_by_label("API key").fill(_KEY)
        page.keyboard.press("Enter")
        page.wait_for_url("**/dashboard/jobs?state=queued")
        expect(page.locator("#jobs tbody tr")).to_have_count(1)
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        page.close()
        assert tab.complaints == []


_WATCH = """() => {
  window.longest = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
  }).observe({ type: "longtask" });
}"""


@pytest.mark.parametrize(("jobs", "changes"), [(400, 100), pytest.param(10_000, 1500, marks=pytest.mark.slow)])
def test_a_long_list_keeps_up_while_fifty_jobs_change_each_second(
    tab: Tab, scene: Scene, jobs: int, changes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.hold(LARGE)
    ids = scene.queue(*[asked(LARGE, Lane.BATCH) for _ in range(jobs)])
    page = tab.open("/jobs")
    expect(page.locator("#jobs tbody tr")).to_have_count(50)
    page.evaluate(_WATCH)
    pace = threading.Event()
    for number in range(changes // 2):  # each job that is claimed and ended is two changes
        scene.end(scene.claim(ids[-1 - number]))
        pace.wait(0.04)
    expect(page.locator(f"#{ids[-10]} .state")).to_have_text("succeeded")
    newest = scene.queue(asked(LARGE))[0]
    expect(page.locator("#jobs tbody tr").first).to_have_id(newest)
    expect(page.locator("#head")).to_contain_text(re.compile(rf"Succeeded\s*{changes // 2}"))
    with capsys.disabled():
        sys.stdout.write(f" [of {jobs} jobs, longest task of the page over 50 ms: {page.evaluate('window.longest')} ms] ")
    page.get_by_role("link", name="Older").click()
    expect(page.locator("#jobs tbody tr")).to_have_count(50)


def test_it_looks_as_in_its_documentation(tab: Tab, scene: Scene, tmp_path: Path) -> None:
    folder = _PICTURES or tmp_path

    def photograph(name: str, *, whole: bool = True) -> None:
        file = folder / f"dashboard-{name}.png"
        tab.page.screenshot(path=file, full_page=whole, animations="disabled")
        Image.open(file).convert("RGB").quantize(kmeans=2).save(file, optimize=True)
        assert file.stat().st_size < 150_000

    scene.have_a_past()
    scene.hold(EMBEDDING, LARGE)
    page = tab.open()
    page.emulate_media(color_scheme="light")
    expect(page.locator("#memory .track")).to_have_count(5)
    photograph("idle")
    answering = [scene.run(asked(LARGE, Lane.INTERACTIVE)) for _ in range(3)]
    whole = scene.divide(parts=9, done=4)
    scene.queue(*[asked(LARGE) for _ in range(4)], asked(SMALL), asked(SMALL))
    scene.deny(SMALL, LARGE)
    scene.download(SMALL, 4_700_000_000, 7_600_000_000)
    expect(page.locator("#downloads progress")).to_have_count(1)
    expect(page.locator("#waiting .rows li")).to_have_count(7)
    photograph("busy")
    page.emulate_media(color_scheme="dark")
    photograph("dark")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 360, "height": 740})
    photograph("phone")
    page.set_viewport_size({"width": 1280, "height": 900})
    for claimed in answering:
        scene.end(claimed)
    scene.hold(EMBEDDING, loading=SMALL)
    expect(page.get_by_role("img", name=f"{SMALL}: loading")).to_be_visible()
    photograph("swap")
    tab.open(f"/jobs/{scene.store.list_jobs(state=JobState.FAILED)[0].id}?show=request")
    photograph("failed")
    tab.open(f"/jobs/{whole}")
    expect(page.locator("#job tbody tr")).to_have_count(9)
    assert page.locator("#job").get_by_text(EARS).count() > 1
    tab.open("/jobs")
    photograph("jobs", whole=False)
