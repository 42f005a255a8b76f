"""A real worker on a machine that is to be thrifty, and that must not fall asleep; macOS's programs are small scripts here."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from app.jobs.record import JobState, Lane
from app.jobs.store import JobStore
from app.settings import Settings
from tests.integration.command import mlx_local
from tests.integration.test_worker_crashes import first_tokens, job
from tests.integration.test_worker_troubles import ends, submit, until
from tests.integration.worker_process import WorkerProcess, scripted_catalog


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with ``pmset``, which says what the file ``mode`` beside it holds, and ``caffeinate``, which stays and writes who it is."""
    scripts = {
        "pmset": 'cat "$(dirname "$0")/mode"',
        "caffeinate": 'echo "$$ $*" >> "$(dirname "$0")/caffeinated"; exec tail -f /dev/null',
    }
    for name, script in scripts.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "mode").write_text(" lowpowermode         1\n")
    return tmp_path


def test_batch_work_waits_for_the_end_of_low_power_mode_and_people_are_served(
    settings: Settings, store: JobStore, private_folder: Path, programs: Path
) -> None:
    chosen = settings.model_copy(update={"catalog": scripted_catalog(private_folder)})
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    worker = WorkerProcess(chosen, PATH=path, MLX_LOCAL_ON_LOW_POWER="interactive")
    later, now = job("say 3", Lane.BATCH), job("say 3000", Lane.INTERACTIVE)

    async def scenario() -> None:
        gateway = await submit(chosen, later)
        await gateway.submit(now)
        await first_tokens(gateway, now)
        waiting = store.get(later.id).waiting_for
        assert waiting is not None
        assert (store.get(later.id).state, waiting.reason) == (JobState.QUEUED, "low_power")
        assert "Power      This machine is in low-power mode: batch work waits" in mlx_local(chosen, "status").stdout
        await until((programs / "caffeinated").exists)
        (programs / "mode").write_text(" lowpowermode         0\n")
        assert await ends(gateway, later) == [JobState.SUCCEEDED]
        await gateway.cancel(now.id)
        await gateway.close()

    worker.start()
    asyncio.run(scenario())
    assert worker.stop() == 0
    held, *words = (programs / "caffeinated").read_text().split()
    assert words[:2] == ["-i", "-w"], "for as long as the worker lives"
    with pytest.raises(ProcessLookupError):
        os.kill(int(held), 0)
