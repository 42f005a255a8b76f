"""The texts of the results: what was heard, what was corrected, and what went wrong. Pure.

What was heard never poses as corrected: each text says in its head which it
is, and a corrected text with pieces that are not says so in its first line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from daemon.front_matter import Value, rendered
from daemon.outcome import Failed, Output

__all__ = ["Origin", "corrected_text", "failed_text", "raw_text"]

_NOTHING = "> Nobody speaks."
_PAUSE_S = 2.0  # after which a paragraph with a time before it begins
_STAMPED_CHARACTERS = 200  # after which one ends: who looks for a moment wants many
_STAGES = {"submit": "taken by the server", "transcribe": "transcribed", "correct": "corrected"}


@dataclass(frozen=True, slots=True)
class Origin:
    """What the head of every result says of where it comes from."""

    source: str
    sha256: str
    identity: str
    date: datetime
    job_id: str | None = None
    duplicate_of: str | None = None
    warnings: list[str] = field(default_factory=list)

    def head(self, result: str, facts: Mapping[str, Value]) -> str:
        """Return the front matter of a result of this origin."""
        fields: dict[str, Value] = {"result": result, "source": self.source, "duplicate_of": self.duplicate_of, **facts}
        fields |= {"date": self.date.isoformat(timespec="seconds"), "job": self.job_id, "warnings": self.warnings}
        return rendered(fields | {"sha256": self.sha256, "identity": self.identity})


def raw_text(output: Output, origin: Origin, *, timestamps: bool) -> str:
    """Return what was heard. *output* is a transcript, or of one the part that hears."""
    text = str(output.get("text") or "").strip()
    if timestamps:
        text = _stamped(output) or text
    if "heard_warnings" in output:  # the others are of the correction, of which nothing is here
        origin = replace(origin, warnings=[str(warning) for warning in output["heard_warnings"]])
    return origin.head("raw", _heard(output, [output.get("model")])) + "\n" + text + "\n"


def corrected_text(output: Output, origin: Origin, *, timestamps: bool) -> str:
    """Return the corrected text of a transcript that has one."""
    pieces = list(output.get("pieces") or ())
    raw = {number: str(piece["kept_raw"]) for number, piece in enumerate(pieces, start=1) if piece.get("kept_raw")}
    total = int(output.get("total_pieces", len(pieces)))
    asked = output.get("correction_model") if pieces else None  # where nobody speaks, it was asked for nothing
    facts = {**_heard(output, [output.get("model"), asked])}
    facts["corrected_pieces"] = f"{output.get('corrected_pieces', total - len(raw))}/{total}"
    blocks = [_notice(raw, total)] if raw else []
    if pieces and (raw or timestamps):
        starts = _starts(pieces, output) if timestamps else [None] * len(pieces)
        blocks += [_piece(piece, start_s) for piece, start_s in zip(pieces, starts, strict=True)]
    else:
        blocks.append(str(output["corrected"]).strip() or _NOTHING)
    return origin.head("corrected", facts) + "\n" + "\n\n".join(blocks) + "\n"


def failed_text(failed: Failed, origin: Origin, command: str) -> str:
    """Return what went wrong, and how to have it tried again."""
    facts: dict[str, Value] = {"failed": failed.step, "code": failed.code}
    lines = [f"{origin.source} could not be {_STAGES[failed.step]}.", failed.message]
    if failed.raw is not None:
        lines.append("What was heard is beside this file, not corrected.")
    lines.append(
        f"To have it tried again, mend the cause and run\n\n    {command}\n\nor delete this file. "
        "It is tried again by itself when the recording, `dict.txt` or `.transcribe.toml` changes."
    )
    return origin.head("failed", facts) + "\n" + "\n\n".join(lines) + "\n"


def _heard(output: Output, models: list[Any]) -> dict[str, Value]:
    duration = output.get("duration")
    language = output.get("language")
    return {
        "duration": None if duration is None else clock(float(duration)),
        "language": str(language) if language else None,
        "models": [str(model) for model in models if model],
    }


def clock(seconds: float) -> str:
    """Return a moment of a recording as hours, minutes and seconds."""
    whole = int(max(0.0, seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _notice(raw: Mapping[int, str], total: int) -> str:
    named = ", ".join(f"{number} ({reason})" for number, reason in raw.items())
    if len(raw) == total:
        return f"> Nothing of this is corrected. It stands as it was heard, in {total} pieces: {named}."
    return f"> {len(raw)} of {total} pieces are not corrected but as they were heard, marked below: {named}."


def _piece(piece: Mapping[str, Any], start_s: float | None) -> str:
    text = str(piece["raw"] if piece.get("kept_raw") else piece.get("corrected") or piece["raw"]).strip()
    stamp = "" if start_s is None else f"[{clock(start_s)}] "
    return f"> As heard ({piece['kept_raw']}):\n\n{stamp}{text}" if piece.get("kept_raw") else f"{stamp}{text}"


def _starts(pieces: Iterable[Mapping[str, Any]], output: Output) -> list[float | None]:
    """Return when each piece begins: pieces and segments have the same characters, if not the same spaces between them."""
    ends: list[tuple[int, float]] = []
    seen = 0
    for segment in output.get("segments") or ():
        seen += _inked(str(segment["text"]))
        ends.append((seen, float(segment["start"])))
    starts: list[float | None] = []
    begun = 0
    for piece in pieces:
        starts.append(next((start_s for end, start_s in ends if begun < end), None))
        begun += _inked(str(piece["raw"]))
    return starts


def _inked(text: str) -> int:
    return sum(not character.isspace() for character in text)


def _stamped(output: Output) -> str:
    """Return the segments as paragraphs with a time before each: a new one after a pause, and soon in any case."""
    paragraphs: list[tuple[float, list[str]]] = []
    end_s, length = 0.0, 0
    for segment in output.get("segments") or ():
        text, start_s = str(segment["text"]).strip(), float(segment["start"])
        if not text:
            continue
        if not paragraphs or start_s - end_s >= _PAUSE_S or length >= _STAMPED_CHARACTERS:
            paragraphs.append((start_s, []))
            length = 0
        paragraphs[-1][1].append(text)
        length += len(text)
        end_s = float(segment["end"])
    return "\n\n".join(f"[{clock(start_s)}] {_joined(texts)}" for start_s, texts in paragraphs)


def _joined(texts: Iterable[str]) -> str:
    """Join what was said: with spaces, but not where two letters meet that are written without."""
    whole = ""
    for text in texts:
        tight = whole and _is_wide(whole[-1]) and _is_wide(text[0])
        whole += text if not whole or tight else f" {text}"
    return whole


def _is_wide(character: str) -> bool:
    import unicodedata

    return unicodedata.east_asian_width(character) in {"W", "F"}
