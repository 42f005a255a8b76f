"""Whatever happens, and whenever: each recording ends with one right pair of results in its archive, and is heard once.

Ten scripts here, and two hundred more of each sort as slow tests; ``python -m bench folder`` plays these too.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.integration.chaos_alone import DaemonAlone
from tests.integration.chaos_stack import StackFolder, WholeStack
from tests.integration.daemon_chaos import play


def alone(seeds: range, place: Path) -> dict[int, str]:
    return play({seed: partial(DaemonAlone, seed, place) for seed in seeds})


def on_a_stack(seeds: range, place: Path, models: Path) -> dict[int, str]:
    with WholeStack(place, seeds, models).running() as stack:
        return play({seed: partial(StackFolder, seed, stack) for seed in seeds})


def test_every_recording_that_survives_has_one_pair_and_was_heard_once(private_folder: Path) -> None:
    assert alone(range(6), private_folder) == {}


def test_so_it_is_when_redis_the_api_the_worker_and_the_daemon_are_killed(private_folder: Path, starter_models: Path) -> None:
    assert on_a_stack(range(4), private_folder, starter_models) == {}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 300, 10))
def test_two_hundred_more(first: int, private_folder: Path) -> None:
    assert alone(range(first, first + 10), private_folder) == {}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 300, 4))
def test_two_hundred_more_on_whole_stacks(first: int, private_folder: Path, starter_models: Path) -> None:
    assert on_a_stack(range(first, first + 4), private_folder, starter_models) == {}
