"""``python -m bench.simulate [TRACE...] [--write]``: replay traces in virtual time against production's policy and other ways.

Prints loads (swaps), makespan and waits for each model. With ``--write`` it
draws each trace into ``docs/scheduler/`` and renews the table of
``docs/scheduler.md``. Takes seconds, and always finds the same.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from bench.simulation.dispatchers import Fifo, Lru, Policy
from bench.simulation.drawing import draw
from bench.simulation.figures import Outcome, judge, markdown, print_outcomes
from bench.simulation.machine import Dispatcher, Machine, Trace, replay
from bench.simulation.traces import traces

__all__ = ["WAYS", "main", "renewed"]

WAYS: dict[str, Callable[[], Dispatcher]] = {"policy": Policy, "FIFO": Fifo, "LRU": Lru}

_DOCS = Path(__file__).parents[1] / "docs"
_BEGIN, _END = "<!-- table: python -m bench.simulate --write -->\n", "<!-- end of table -->"


def main() -> int:
    """Replay what is asked for, all by default."""
    every = {trace.name: trace for trace in traces()}
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description="Compare ways to share one machine's memory.")
    parser.add_argument("trace", nargs="*", metavar="TRACE", help=f"of {', '.join(every)}; all by default")
    parser.add_argument("--write", action="store_true", help="renew the table and the pictures in docs/")
    arguments = parser.parse_args()
    if unknown := set(arguments.trace) - set(every):
        parser.error(f"no such trace: {', '.join(sorted(unknown))}")
    console = Console()
    judged: list[tuple[Trace, list[Outcome]]] = []
    for name in arguments.trace or every:
        replays = [(way, replay(every[name], make())) for way, make in WAYS.items()]
        outcomes = [judge(way, machine) for way, machine in replays]
        judged.append((every[name], outcomes))
        print_outcomes(console, every[name], outcomes)
        if arguments.write:
            _draw(name, replays)
    if arguments.write and not arguments.trace:
        page = _DOCS / "scheduler.md"
        page.write_text(renewed(page.read_text(), judged))
    return 0


def renewed(page: str, judged: Sequence[tuple[Trace, Sequence[Outcome]]]) -> str:
    """Return *page* with the table of *judged* in its place."""
    before, _, rest = page.partition(_BEGIN)
    return before + _BEGIN + markdown(judged) + _END + rest.partition(_END)[2]


def _draw(name: str, replays: Sequence[tuple[str, Machine]]) -> None:
    folder = _DOCS / "scheduler"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.svg").write_text(draw(replays))


if __name__ == "__main__":
    sys.exit(main())
