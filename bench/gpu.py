"""``python -m bench.gpu [NAME...]``: the whole stack against the engine alone on an accelerator, with random weights in real shapes.

Both sides are up at the same time, each with the weights in memory, and are
asked in turns; a ratio is within one round. Figures of random weights speak of
speed alone.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from rich.console import Console

from bench.chat_client import DEFINITIONS, ask, body, together
from bench.engine_alone import EngineAlone, engine_alone
from bench.homes import Server, one_home, stack
from bench.random_models import SHAPES
from bench.report import Figure, at_least, median, print_table, ratio, write_json

__all__ = ["main"]

_STREAMS = (1, 8, 32)
_MOST = max(_STREAMS)
_CATALOG = """
[[model]]
id = "random"
repo = "{folder}"
tasks = ["chat"]
slots = {slots}
[roles]
chat = "random"
"""

Found = dict[str, list[float]]


def main() -> int:
    """Measure each named shape, all by default."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="Measure the whole path on an accelerator.")
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"of {', '.join(SHAPES)}; all by default")
    parser.add_argument("--models", type=Path, help="where the random models are made, or are already; a temporary folder by default")
    parser.add_argument("--tokens", type=int, default=256, help="of each answer (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--json", type=Path, default=Path("build/bench-gpu.json"), help="where the figures go (%(default)s)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    console = Console()
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="mlx-bench-") as folder:
        models = arguments.models or Path(folder)
        for name in arguments.name or SHAPES:
            console.print(f"[dim]{name} …[/dim]")
            made = _made(name, models)
            found = _measure(name, made, arguments.tokens, arguments.rounds, console)
            figures += found
            print_table(console, f"{name}, random weights, on {device()}", found, DEFINITIONS)
            write_json(arguments.json, figures)
    return 0


def device() -> str:
    """Return what the driver calls the first card, or what MLX runs on here."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n", 1)[0].strip()
    except (OSError, subprocess.SubprocessError):
        return os.uname().machine


def _made(name: str, models: Path) -> Path:
    """Return the folder of the model; make it in a process of its own, which gives its memory back."""
    folder = models / name
    if not (folder / "config.json").is_file():  # written last
        subprocess.run([sys.executable, "-m", "bench.random_models", name, str(folder)], check=True)
    return folder


def _measure(name: str, model: Path, tokens: int, rounds: int, console: Console) -> list[Figure]:
    found: Found = defaultdict(list)
    with one_home() as home:
        catalog = home / "catalog.toml"
        catalog.write_text(_CATALOG.format(folder=model, slots=_MOST))
        # A profile whose other models are not here: nothing else is fetched or loaded.
        more = {"MLX_LOCAL_CATALOG": str(catalog), "MLX_LOCAL_PROFILE": "16gb", "HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "hf")}
        with stack(home, catalog, **more) as server, engine_alone(home, **more) as alone:
            for warm in range(2):  # kernels are built for each shape, and allocators grow
                warmth: Found = defaultdict(list)
                _round(server, alone, warmth, f"Warm {warm}", tokens // 2, _STREAMS)
                console.print(f"[dim]warm-up {warm + 1}: {_latest(warmth)}")
            for number in range(rounds):
                _round(server, alone, found, f"Round {number}", tokens, _STREAMS)
                console.print(f"[dim]round {number + 1}: {_latest(found)}")
    return _figures(name, found)


def _round(server: Server, alone: EngineAlone, found: Found, salt: str, tokens: int, streams: tuple[int, ...]) -> None:
    for count in streams:
        requests = [body(server.model, f"{salt}.{count}.{stream}", tokens) for stream in range(count)]
        if count == 1:
            answer = ask(server, requests[0])
            _insist(answer.error)
            found["first whole"].append(answer.first_s)
            found["first alone"].append(alone.together([body("chat", f"{salt} alone", tokens)])["first_s"][0])
        answers, seconds = together(server, requests if count > 1 else [body(server.model, f"{salt} again", tokens)])
        for answer in answers:
            _insist(answer.error)
        found[f"rate {count} whole"].append(sum(answer.tokens for answer in answers) / seconds)
        inside = alone.together(requests)
        found[f"rate {count} alone"].append(inside["tokens"] / inside["whole_s"])


def _latest(found: Found) -> str:
    """Say what the last round found, so that a run that is cut off has said something."""
    return ", ".join(f"{what} {values[-1]:.3g}" for what, values in found.items())


def _insist(error: str | None) -> None:
    if error is not None:
        raise RuntimeError(error)


def _figures(name: str, found: Found) -> list[Figure]:
    against, spread = ratio(found["first whole"], found["first alone"])
    figures = [
        Figure(name, "first token, one client: whole path", median(found["first whole"]) * 1000, "ms"),
        Figure(name, "first token, one client: engine alone", median(found["first alone"]) * 1000, "ms"),
        Figure(name, "first token: whole path / engine alone", against, spread=spread),
    ]
    for count in _STREAMS:
        whole, inside = found[f"rate {count} whole"], found[f"rate {count} alone"]
        against, spread = ratio(whole, inside)
        words = f"{count} streams: whole path / engine alone"
        figures += [
            Figure(name, f"{count} streams: whole path", median(whole), "tok/s"),
            Figure(name, f"{count} streams: engine alone", median(inside), "tok/s"),
            at_least(name, words, against, 0.95, spread=spread) if count == _MOST else Figure(name, words, against, spread=spread),
        ]
    return figures


if __name__ == "__main__":
    sys.exit(main())
