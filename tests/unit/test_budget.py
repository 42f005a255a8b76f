"""The budget follows from the device, and pressure from what other programs leave."""

from __future__ import annotations

import os

import pytest

from app.machine import Machine
from app.scheduler.budget import Pressure, available_bytes, budget_bytes, default_watermark_bytes, is_short

GIB = 1024**3
MIB = 1024**2


def machine(ram_gib: float) -> Machine:
    return Machine(ram_bytes=int(ram_gib * GIB), cores=8, macos=False, apple_silicon=False, nvidia=False, vram_bytes=None)


def test_what_the_user_allows_comes_before_the_device() -> None:
    assert budget_bytes(20 * GIB, machine(16), {"max_recommended_working_set_size": 10 * GIB}) == 20 * GIB


def test_on_metal_it_is_the_working_set_that_metal_recommends() -> None:
    assert budget_bytes(None, machine(16), {"max_recommended_working_set_size": 11_453_246_122, "total_memory": 16 * GIB}) == 11_453_246_122


@pytest.mark.parametrize(("card_gib", "left_gib"), [(8, 1), (16, 1), (80, 5)])
def test_on_cuda_it_is_the_card_but_for_a_margin(card_gib: int, left_gib: int) -> None:
    assert budget_bytes(None, machine(64), {"total_memory": card_gib * GIB}) == (card_gib - left_gib) * GIB


@pytest.mark.parametrize(("ram_gib", "left_gib"), [(2, 1), (4, 2), (8, 2), (16, 4), (64, 16)])
def test_without_a_gpu_it_is_the_memory_but_for_what_the_system_needs(ram_gib: int, left_gib: int) -> None:
    assert budget_bytes(None, machine(ram_gib), {}) == (ram_gib - left_gib) * GIB


@pytest.mark.parametrize(("ram_gib", "watermark_bytes"), [(1, 256 * MIB), (8, 512 * MIB), (16, 16 * GIB // 20), (128, 128 * GIB // 20)])
def test_the_watermark_is_a_twentieth_and_on_small_machines_more(ram_gib: int, watermark_bytes: int) -> None:
    assert default_watermark_bytes(machine(ram_gib)) == watermark_bytes


def test_a_short_machine_stays_short_until_there_is_room_again() -> None:
    seen = [is_short(1000, 1000, was_short=False), is_short(999, 1000, was_short=False)]
    seen += [is_short(1499, 1000, was_short=True), is_short(1500, 1000, was_short=True)]
    assert seen == [False, True, True, False]


def test_the_machine_is_looked_at_once_a_second_and_no_more() -> None:
    available, clock = [500, 1400, 1600], [0.0]
    pressure = Pressure(1000, sample=lambda: available.pop(0), now=lambda: clock[0])
    assert pressure.short
    assert pressure.short
    clock[0] = 1.0
    assert pressure.short
    clock[0] = 2.0
    assert not pressure.short
    assert not available


def test_what_is_available_is_some_of_what_there_is() -> None:
    assert 0 < available_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
