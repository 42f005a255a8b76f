"""What came of a recording's job: what the daemon was answered, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Failed", "Outcome", "Output", "Step", "Transcribed"]

Output = Mapping[str, Any]
"""An answer of the API, as JSON has it."""

Step = Literal["submit", "transcribe", "correct"]


@dataclass(frozen=True, slots=True)
class Transcribed:
    """The job succeeded."""

    job_id: str
    output: Output


@dataclass(frozen=True, slots=True)
class Failed:
    """It did not, and trying again by itself would not help."""

    step: Step
    code: str
    message: str
    job_id: str | None = None
    raw: Output | None = None  # what was heard, where only the correction failed


Outcome = Transcribed | Failed
