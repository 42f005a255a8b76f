"""Whatever happens, and whenever: each recording ends with one right pair of results in its archive, and is heard once.

Ten scripts here, and two hundred of each sort as slow tests; ``python -m bench folder`` plays those too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.chaos_alone import play_alone
from tests.integration.chaos_stack import play_on_a_stack


def test_every_recording_that_survives_has_one_pair_and_was_heard_once(private_folder: Path) -> None:
    assert play_alone(range(6), private_folder) == {}


def test_so_it_is_when_redis_the_api_the_worker_and_the_daemon_are_killed(private_folder: Path, starter_models: Path) -> None:
    assert play_on_a_stack(range(4), private_folder, starter_models).failed == {}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 300, 10))
def test_two_hundred_more(first: int, private_folder: Path) -> None:
    assert play_alone(range(first, first + 10), private_folder) == {}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 300, 4))
def test_two_hundred_more_on_whole_stacks(first: int, private_folder: Path, starter_models: Path) -> None:
    assert play_on_a_stack(range(first, first + 4), private_folder, starter_models).failed == {}
