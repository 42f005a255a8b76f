"""A job's stream: its state moves, its tokens and its progress, in order, to be read again from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import redis
from pydantic import BaseModel, Field

from app.jobs import keys
from app.jobs.calls import CallDelta, packed_calls, unpacked_calls
from app.jobs.channel_order import Turn, packed_runs, runs_of, unpacked_runs
from app.jobs.connection import store_errors
from app.jobs.logprobs import TokenLogprob, packed, unpacked
from app.jobs.record import TERMINAL, JobState, Progress

__all__ = ["ChildEnd", "Piece", "Published", "SoundPiece", "StreamEntry", "read_streams"]


class Piece(NamedTuple):
    """New tokens of one choice of a running job, to be published under its claim."""

    job_id: str
    token: str  # of the claim
    ids: Sequence[int]
    text: str
    choice: int = 0
    logprobs: Sequence[TokenLogprob] = ()
    reasoning: str = ""
    calls: Sequence[CallDelta] = ()
    runs: Sequence[Turn] = ()  # how reasoning, text and calls take turns; none: in that order
    number: int | None = None  # of the pieces of this claim, from 1: one that is repeated after a lost answer is not taken twice

    def fields(self) -> dict[str, Any]:
        """Return what its entry says beside the text; what is left out reads as none."""
        return {
            "ids": " ".join(map(str, self.ids)),
            "choice": self.choice or None,
            "logprobs": packed(self.logprobs) if self.logprobs else None,
            "reasoning": self.reasoning or None,
            "calls": packed_calls(self.calls) if self.calls else None,
            "runs": packed_runs(self.runs),
            "number": self.number,
        }


class Published(NamedTuple):
    """What earlier attempts have published of one choice."""

    ids: list[int]
    texts: list[str]
    logprobs: list[TokenLogprob]
    reasonings: list[str]
    calls: list[CallDelta]

    @classmethod
    def nothing(cls) -> Published:
        """Return what there is before the first entry."""
        return cls([], [], [], [], [])


class SoundPiece(BaseModel, frozen=True):
    """A piece of what is said: a later attempt begins an unfinished sentence anew, and makes the same sound."""

    sentence: int
    offset: int = Field(description="Bytes of the sentence before this piece.")
    rate: int = Field(description="Samples a second.")
    last: bool = Field(description="The sentence is complete.")
    pcm: bytes = Field(exclude=True, description="int16, little-endian, mono.")


class ChildEnd(BaseModel, frozen=True):
    """One of a job's children has ended."""

    number: int = Field(description="Which one; its id is the parent's with `.number` behind it.")
    state: JobState


class StreamEntry(BaseModel, frozen=True):
    """One entry of a job's stream."""

    id: str = Field(description="Redis stream id; resume after it.")
    type: Literal["state", "tokens", "sound", "progress", "child"]
    attempt: int
    state: JobState | None = None
    ids: tuple[int, ...] = ()
    text: str = ""
    reasoning: str = Field("", description="What the model thought before it answered.")
    calls: tuple[CallDelta, ...] = Field((), description="Pieces of calls of tools: which call, its name, some of its arguments.")
    runs: tuple[Turn, ...] = Field((), description="How they take turns: letter and size of each run; none: reasoning, text, calls.")
    choice: int = Field(0, description="Which answer the tokens belong to, where the job has several.")
    logprobs: tuple[TokenLogprob, ...] = Field((), exclude=True, description="Of the tokens, where the request asks for them.")
    progress: Progress | None = None
    child: ChildEnd | None = None
    sound: SoundPiece | None = None

    def parts(self) -> Iterator[StreamEntry]:
        """Yield what it adds in the order in which it came: entries that think, say or call, and no two of these.

        Likelihoods, which are of all its tokens, go with what is said first, or else with what comes first.
        """
        runs = self.runs or runs_of(self.reasoning, self.text, self.calls) or [("t", 0)]
        likely = next((place for place, (letter, _) in enumerate(runs) if letter == "t"), 0)
        at = dict.fromkeys("rtc", 0)
        for place, (letter, size) in enumerate(runs):
            begin, end = at[letter], at[letter] + size
            at[letter] = end
            shown: dict[str, Any] = {"reasoning": "", "text": "", "calls": (), "runs": ()}
            if letter == "r":
                shown["reasoning"] = self.reasoning[begin:end]
            elif letter == "t":
                shown["text"] = self.text[begin:end]
            else:
                shown["calls"] = self.calls[begin:end]
            yield self.model_copy(update=shown | {"logprobs": self.logprobs if place == likely else ()})

    @property
    def is_end(self) -> bool:
        """Whether nothing follows this entry."""
        return self.state in TERMINAL


def read_streams(client: redis.Redis, cursors: Mapping[str, str], *, count: int, wait_s: float = 0.0) -> dict[str, list[StreamEntry]]:
    """Return the entries of each job's stream after its cursor, in one round trip.

    Args:
        client: Of the job store.
        cursors: Job id -> stream id to read after.
        count: At most so many entries of each.
        wait_s: Where there are none yet, wait so long for the first.
    """
    if not cursors:
        return {}
    with store_errors():
        streams: dict[Any, Any] = {keys.tokens(job_id): cursor for job_id, cursor in cursors.items()}
        answer: Any = client.xread(streams, count=count, block=int(wait_s * 1000) or None)
    pairs: Iterable[tuple[str, Any]] = answer.items() if isinstance(answer, dict) else answer or []
    found: dict[str, list[StreamEntry]] = {}
    for key, batches in pairs:
        # RESP3 answers a mapping to lists of lists, RESP2 a list of pairs.
        entries = batches[0] if isinstance(answer, dict) and batches and isinstance(batches[0], list) else batches
        known = (_readable(entry_id, fields) for entry_id, fields in entries)
        found[key.removeprefix(keys.tokens(""))] = [entry for entry in known if entry is not None]
    return found


def _readable(entry_id: str, fields: dict[str, str]) -> StreamEntry | None:
    """Return the entry, None where a later version wrote what this one does not know."""
    try:
        return _entry(entry_id, fields)
    except (KeyError, ValueError):
        return None


def _entry(entry_id: str, fields: dict[str, str]) -> StreamEntry:
    attempt = int(fields["attempt"])
    match fields["type"]:
        case "tokens":
            ids = tuple(int(part) for part in fields["ids"].split())
            return StreamEntry(
                id=entry_id,
                type="tokens",
                attempt=attempt,
                ids=ids,
                text=fields["text"],
                choice=int(fields.get("choice", 0)),
                logprobs=unpacked(fields["logprobs"]) if "logprobs" in fields else (),
                reasoning=fields.get("reasoning", ""),
                calls=unpacked_calls(fields["calls"]) if "calls" in fields else (),
                runs=unpacked_runs(fields["runs"]) if "runs" in fields else (),
            )
        case "sound":
            sound = SoundPiece(
                sentence=int(fields["sentence"]),
                offset=int(fields["offset"]),
                rate=int(fields["rate"]),
                last=fields["last"] == "1",
                pcm=base64.b64decode(fields["pcm"]),
            )
            return StreamEntry(id=entry_id, type="sound", attempt=attempt, sound=sound)
        case "progress":
            return StreamEntry(id=entry_id, type="progress", attempt=attempt, progress=_progress(fields))
        case "child":
            child = ChildEnd(number=int(fields["number"]), state=JobState(fields["ended"]))
            return StreamEntry(id=entry_id, type="child", attempt=attempt, progress=_progress(fields), child=child)
        case _:
            return StreamEntry(id=entry_id, type="state", attempt=attempt, state=JobState(fields["state"]))


def _progress(fields: Mapping[str, str]) -> Progress:
    total = int(fields["total"]) if fields["total"] else None
    pace = {name: float(fields[name]) for name in ("rate_per_s", "eta_s") if fields.get(name)}
    return Progress(done=int(fields["done"]), total=total, unit=fields["unit"], stage=fields.get("stage") or None, **pace)
