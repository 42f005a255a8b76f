"""Random scripts for the watched folder while processes are killed: how many end as they must.

In each, files come, grow, are renamed, copied, replaced and deleted at random moments. Every script is played twice: before the
daemon alone, which is killed while its API goes away, is full and loses answers; and on a whole stack, of which Redis, API, worker and
daemon are killed with SIGKILL. The daemon's tests play the same scripts, and say what each has to show
(``tests/integration/daemon_chaos.py``, ``chaos_stack.py``). A script is its seed; when its steps meet what the processes do is chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.homes import one_home, starter_models
from bench.report import Figure, at_least
from tests.integration.chaos_alone import play_alone
from tests.integration.chaos_stack import Played, play_on_a_stack

if TYPE_CHECKING:
    from bench.__main__ import Bench

__all__ = ["NOTE", "run"]

_NAME = "folder"
NOTE = (
    "Ended well: each recording that survived has one right pair of results and is archived, by one job; none of its parts failed, or was "
    "at a model again without a death of worker or Redis meanwhile; no other files are left. Models hear tones and correct by rule."
)
_SEEDS, _QUICK_SEEDS = range(100, 300), range(100, 104)
_ALONE_AT_ONCE, _ON_A_STACK = 10, 4


def run(bench: Bench) -> list[Figure]:
    """Play all scripts, or four of each sort if it is to be quick."""
    models = starter_models()
    seeds = _QUICK_SEEDS if bench.quick else _SEEDS
    alone: dict[int, str] = {}
    for few in _in_parts(seeds, _ALONE_AT_ONCE):
        with one_home() as place:
            alone |= _told(bench, "the daemon alone", few, play_alone(few, place))
    played: list[Played] = []
    for few in _in_parts(seeds, _ON_A_STACK):
        with one_home() as place:
            played.append(play_on_a_stack(few, place, models))
            _told(bench, "a whole stack", few, played[-1].failed)
    stacks = {seed: wrong for one in played for seed, wrong in one.failed.items()}
    return [
        _ended_well("scripts of the daemon alone that ended well", seeds, alone),
        _ended_well("scripts on whole stacks that ended well", seeds, stacks),
        Figure(_NAME, "processes killed on whole stacks", sum(one.kills for one in played), "processes"),
        Figure(_NAME, "calls of models there", sum(one.calls for one in played), "calls"),
        Figure(_NAME, "of these, begun again after a kill", sum(one.repeated for one in played), "calls"),
    ]


def _in_parts(seeds: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for begin in range(0, len(seeds), size):
        yield seeds[begin : begin + size]


def _told(bench: Bench, stage: str, seeds: Sequence[int], failed: Mapping[int, str]) -> Mapping[int, str]:
    bench.say(f"{stage}, seeds {seeds[0]} to {seeds[-1]}: {len(seeds) - len(failed)} of {len(seeds)} ended well")
    for seed, wrong in failed.items():
        bench.say(f"seed {seed}: {wrong}")
    return failed


def _ended_well(name: str, seeds: Sequence[int], failed: Mapping[int, str]) -> Figure:
    told = f"seeds {seeds[0]} to {seeds[-1]}" + (f", not {', '.join(map(str, failed))}" if failed else "")
    return at_least(_NAME, name, len(seeds) - len(failed), len(seeds), "scripts", told)
