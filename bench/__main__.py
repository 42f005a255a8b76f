"""``python -m bench [SECTION...] [--quick] [--json FILE]``: measure, print a table, write JSON. Judges, and never fails for a figure."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from rich.console import Console

from bench import batch, chats, cluster, conversation, embeddings, folder, footprint, hangup, queueing, recording, swaps
from bench.report import Figure, print_table, write_json

__all__ = ["Bench", "main"]

_SECTIONS: dict[str, ModuleType] = {
    "queue": queueing,
    "processes": footprint,
    "embeddings": embeddings,
    "conversation": conversation,
    "hangup": hangup,
    "chats": chats,
    "swaps": swaps,
    "batch": batch,
    "cluster": cluster,
    "recording": recording,
    "folder": folder,
}


@dataclass(frozen=True, slots=True)
class Bench:
    """What a section is told."""

    quick: bool  # fewer rounds: figures to look at, not to quote
    console: Console

    def say(self, text: str) -> None:
        """Show how far a section is."""
        self.console.print(f"[dim]{text}[/dim]")


def main() -> int:
    """Run the sections that are asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure this software on this machine.")
    parser.add_argument("section", nargs="*", metavar="SECTION", help=f"of {', '.join(_SECTIONS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), help="where the figures go (%(default)s)")
    arguments = parser.parse_args()
    if unknown := set(arguments.section) - set(_SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    logging.getLogger("dramatiq").setLevel(logging.WARNING)
    bench = Bench(arguments.quick, Console(stderr=False))
    figures: list[Figure] = []
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    for name in arguments.section or _SECTIONS:
        section = _SECTIONS[name]
        bench.say(f"{name} …")
        found: list[Figure] = section.run(bench)
        figures += found
        print_table(bench.console, name, found, section.NOTE)
        write_json(arguments.json, figures)
    bench.say(f"written to {arguments.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
