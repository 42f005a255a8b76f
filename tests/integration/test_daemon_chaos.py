"""Whatever happens, and whenever: each recording ends with one right pair of results in its archive, and is heard once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.daemon_chaos import Chaos


@pytest.mark.parametrize("seed", range(6))
def test_every_recording_that_survives_has_one_pair_and_was_heard_once(seed: int, private_folder: Path) -> None:
    Chaos(seed, private_folder).run()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 300))
def test_two_hundred_more(seed: int, private_folder: Path) -> None:
    Chaos(seed, private_folder).run()
