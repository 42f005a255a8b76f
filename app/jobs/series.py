"""The series that live in the store, and what each means. Data only.

They are counted where the thing happens, in the script that moves jobs or in a
worker, and added up in one hash of Redis. So no label says which worker or API
it was, and a restart of either takes nothing back. Label values are models of
the catalog, or of which files have come, kinds, lanes, codes and other words
of ours: never a prompt, a key, a file's name or anything else that a caller
may make up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["COUNTED", "LE", "SUM", "Cell", "Series", "field_of"]

LE = "le"
SUM = "sum"


class Cell(NamedTuple):
    """One number of a series: a counter's for some labels, or one bucket of a histogram, or the sum of one."""

    name: str
    labels: tuple[str, ...]
    part: str = ""  # ``le`` or ``sum``; empty: a counter's
    bound: str = ""  # of the bucket, the values up to it that are above the bound before


def field_of(cell: Cell) -> str:
    """Return the field that a number has in Redis; ``count`` in ``moves.lua`` writes the same."""
    more = [part for part in (cell.part, cell.bound) if part]
    return json.dumps([cell.name, *cell.labels, *more], separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Series:
    """A counter, or with ``buckets`` a histogram."""

    name: str  # without the prefix that all have
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # upper bounds

    @property
    def bounds(self) -> tuple[str, ...]:
        """The buckets' names."""
        return (*(f"{bound:g}" for bound in self.buckets), "+Inf")


_WAITS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_ANSWERS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_GAPS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_LOADS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
_FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 5)

# By the moves of jobs themselves, in moves.lua.
JOB_MOVES = Series(
    "job_moves_total", "Moves of jobs: submitted, started, requeued (drained or rescued), succeeded, failed, canceled.", ("kind", "move")
)
JOB_ERRORS = Series("job_errors_total", "Jobs that ended with an error, by its code. A parent fails with its child's.", ("kind", "code"))

# By workers.
WAITS = Series(
    "job_wait_seconds", "From a job's submission to its first start; children are not counted.", ("kind", "model", "lane"), _WAITS_S
)
RUNS = Series(
    "job_run_seconds",
    "From a job's last start to its end, waits for its model and its children included; what a child failed is not counted.",
    ("kind", "model"),
    _WAITS_S,
)
FIRST_TOKENS = Series(
    "time_to_first_token_seconds",
    "From a job's submission to the first token or sound of its answer, in its first attempt; children are not counted.",
    ("model", "lane"),
    _ANSWERS_S,
)
TOKEN_GAPS = Series("inter_token_seconds", "Between two tokens of one answer, as its engine gave them out.", ("model",), _GAPS_S)
PROMPT_TOKENS = Series("prompt_tokens_total", "Tokens of prompts and inputs whose answers ended, cached ones included.", ("model",))
CACHED_TOKENS = Series("cached_prompt_tokens_total", "Those of them that a prefix cache had.", ("model",))
PROMPTS = Series("prompts_total", "Prompts of texts, by whether a prefix cache had a part of them: hit or miss.", ("model", "cache"))
OUTPUT_TOKENS = Series("output_tokens_total", "Tokens that models gave out, of answers that nobody waited for too.", ("model",))
AUDIO_HEARD = Series("heard_audio_seconds_total", "Sound that was written down.", ("model",))
HEARING_TIME = Series("hearing_real_time_factor", "Seconds of work for a second of sound, of each piece heard.", ("model",), _FACTORS)
AUDIO_SAID = Series("spoken_audio_seconds_total", "Speech that was made.", ("model",))
SPEAKING_TIME = Series("speaking_real_time_factor", "Seconds of work for a second of speech, of each text said.", ("model",), _FACTORS)
LOADS = Series("model_load_seconds", "How long models took to load; its count is the loads.", ("model",), _LOADS_S)
LOAD_FAILURES = Series("model_load_failures_total", "Loads that failed.", ("model",))
UNLOADS = Series("model_unloads_total", "Models that left memory: made room, were idle, or their engine failed.", ("model",))
SWAPS = Series("model_swaps_total", "Loads before which another model had left since the load before.", ("model",))
DOWNLOADED = Series("download_bytes_total", "Bytes that downloads brought.", ("model",))
CRASHES = Series("worker_crashes_total", "Workers that ended without saying goodbye: killed, crashed, or silent for too long.")
RESCUES = Series(
    "job_rescues_total", "Jobs taken back from workers that were gone, by what became of them: requeued, or failed with the last charge.",
    ("outcome", "charged"),
)  # fmt: skip

COUNTED = (
    JOB_MOVES, JOB_ERRORS, WAITS, RUNS, FIRST_TOKENS, TOKEN_GAPS, PROMPT_TOKENS, CACHED_TOKENS, PROMPTS, OUTPUT_TOKENS,
    AUDIO_HEARD, HEARING_TIME, AUDIO_SAID, SPEAKING_TIME, LOADS, LOAD_FAILURES, UNLOADS, SWAPS, DOWNLOADED, CRASHES, RESCUES,
)  # fmt: skip
"""All of them."""
