"""When a worker that is a service is started again because the main API was."""

from __future__ import annotations

import os
from pathlib import Path

from app.actors.following import Following
from app.serving import say_serving, served


def test_the_main_api_is_known_while_it_lives_and_counted_each_time(tmp_path: Path) -> None:
    assert served(tmp_path) == (0, False)
    for starts in (1, 2):
        api = say_serving(tmp_path)
        assert served(tmp_path) == (starts, True)
        os.close(api)
        assert served(tmp_path) == (starts, False)


def test_a_worker_follows_the_second_api_of_its_life_and_not_the_first_whichever_started_first(tmp_path: Path) -> None:
    (tmp_path / "serving.lock").write_text("7")  # of earlier logins
    before = Following(tmp_path)
    assert not before.is_due()
    api = say_serving(tmp_path)
    after = Following(tmp_path)
    assert (before.is_due(), after.is_due()) == (False, False)
    os.close(api)
    assert (before.is_due(), after.is_due()) == (False, False), "it may be about to come back"
    api = say_serving(tmp_path)
    assert (before.is_due(), after.is_due()) == (True, True)
    os.close(api)


def test_an_api_that_came_and_went_between_two_looks_was_the_first(tmp_path: Path) -> None:
    worker = Following(tmp_path)
    os.close(say_serving(tmp_path))
    api = say_serving(tmp_path)
    assert worker.is_due()
    os.close(api)


def test_an_api_that_dies_again_and_again_takes_a_worker_along_once_a_minute(tmp_path: Path) -> None:
    clock = [1_000_000.0]
    api = say_serving(tmp_path)
    worker = Following(tmp_path, now=lambda: clock[0])
    for starts in range(3):
        os.close(api)
        api = say_serving(tmp_path)
        held_s = 0.0 if not starts else 60.0
        if held_s:
            assert not worker.is_due()
            clock[0] += held_s
        assert worker.is_due(), "what was held up comes all the same"
        os.utime(tmp_path / "worker.followed", (clock[0], clock[0]))
        worker = Following(tmp_path, now=lambda: clock[0])
    clock[0] += 601.0
    later = Following(tmp_path, now=lambda: clock[0])
    os.close(api)
    api = say_serving(tmp_path)
    assert later.is_due()
    os.close(api)
