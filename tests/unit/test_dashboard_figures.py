"""What the dashboard draws and counts, from what it is told."""

from __future__ import annotations

import pytest

from app.api.dashboard.figures import figures_of
from app.api.dashboard.timeline import WIDTH, WINDOW_S, Timeline
from app.jobs.memory_log import MemoryChange, What
from app.jobs.moves_log import Ended
from app.jobs.record import JobKind, JobState, Lane

_NOW = 1_000_000.0
_BUDGET = 1000


def change(ago_s: float, what: What, model: str = "", used: int = 0, worker: str = "home-1") -> MemoryChange:
    at = _NOW - ago_s
    return MemoryChange(id="1-0", at=at, worker=worker, what=what, model=model, used_bytes=used, budget_bytes=_BUDGET)


def ended(ago_s: float, run_s: float, tokens: int, state: JobState = JobState.SUCCEEDED, parent: str | None = None) -> Ended:
    finished, started = _NOW - ago_s, _NOW - ago_s - run_s
    times = {"created_at": started - 1, "started_at": started, "finished_at": finished}
    facts = {"id": "job", "kind": JobKind.CHAT, "model": "m", "lane": Lane.BATCH, "state": state, "output_tokens": tokens, "parent": parent}
    return Ended.model_validate(facts | times)


def test_a_model_is_a_bar_from_its_load_to_its_leaving() -> None:
    line = Timeline()
    line.add([change(600, "began"), change(450, "loading", "a", 500), change(440, "resident", "a", 500), change(300, "gone", "a")])
    drawing = line.draw(_NOW)
    (lane,) = drawing.lanes
    assert [(bar.phase, round(bar.width / WIDTH * WINDOW_S)) for bar in lane.bars] == [("loading", 10), ("resident", 140)]
    assert lane.phase is None
    assert [(one.what, one.seconds) for one in drawing.happenings] == [("left", None), ("loaded", 10.0), ("worker began", None)]
    assert (drawing.used_bytes, drawing.budget_bytes) == (0, _BUDGET)


def test_what_is_there_now_reaches_the_right_end_and_what_came_long_ago_begins_at_the_left_one() -> None:
    line = Timeline()
    line.add([change(5000, "began"), change(4000, "resident", "a", 700)])
    (lane,) = line.draw(_NOW).lanes
    (bar,) = lane.bars
    assert (bar.x, bar.width, lane.phase) == (0.0, float(WIDTH), "resident")
    assert line.draw(_NOW).used_bytes == 700


def test_what_left_before_the_window_is_forgotten() -> None:
    line = Timeline()
    line.add([change(4000, "resident", "a", 700), change(3000, "gone", "a")])
    assert line.draw(_NOW).lanes == []


@pytest.mark.parametrize("by", ["the next worker of the home", "silence", "a goodbye"])
def test_the_models_of_a_worker_end_with_it(by: str) -> None:
    line = Timeline()
    line.add([change(500, "began"), change(400, "resident", "a", 700)])
    if by == "silence":
        line.note_alive(set(), _NOW - 100)
    else:
        line.add([change(100, "left") if by == "a goodbye" else change(100, "began", worker="home-2")])
    drawing = line.draw(_NOW)
    assert drawing.lanes[0].phase is None
    assert drawing.lanes[0].bars[0].ended == _NOW - 100
    assert drawing.used_bytes == 0


def test_a_worker_that_is_heard_of_again_has_what_it_had() -> None:
    line = Timeline()
    line.add([change(500, "began"), change(400, "resident", "a", 700)])
    line.note_alive(set(), _NOW - 100)
    line.note_alive({"home-1"}, _NOW - 50)
    drawing = line.draw(_NOW)
    assert (drawing.lanes[0].phase, len(drawing.lanes[0].bars), drawing.used_bytes) == ("resident", 1, 700)


def test_figures_are_of_the_window_and_of_what_succeeded() -> None:
    jobs = [ended(2000, 9, 900), ended(60, 2, 100), ended(50, 4, 100), ended(40, 100, 0, JobState.FAILED), ended(30, 1, 30, parent="p")]
    figures = figures_of(jobs, _NOW)
    (one,) = figures.models
    assert (one.ended, one.failed, one.median_wait_s, one.median_s, one.slow_s) == (4, 1, 1.0, 3.0, 5.0)
    assert one.tokens_per_s == 30.0
    assert sum(figures.rates) * WINDOW_S / len(figures.rates) == pytest.approx(230)


def test_where_nothing_ended_there_are_no_figures() -> None:
    figures = figures_of([], _NOW)
    assert (figures.models, figures.tokens_per_s, max(figures.rates)) == ([], 0.0, 0.0)
