"""What the catalog says of one model. Data only."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ByteSize, Field

from app.setting_values import Duration

__all__ = ["ModelSpec", "Task"]


class Task(StrEnum):
    """What a model can do. ``vision`` implies ``chat``."""

    CHAT = "chat"
    VISION = "vision"
    OCR = "ocr"
    EMBEDDING = "embedding"
    ASR = "asr"
    TTS = "tts"
    RERANK = "rerank"


class ModelSpec(BaseModel, frozen=True, extra="forbid"):
    """One ``[[model]]`` of the catalog."""

    id: Annotated[str, Field(min_length=1, max_length=96, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    repo: str = Field(min_length=1, description="A hub name, or a directory (relative ones from the catalog file).")
    tasks: tuple[Task, ...] = Field(min_length=1)
    aliases: tuple[str, ...] = ()
    memory: ByteSize | None = Field(None, description="Bytes when resident; unset: from the files.")
    residency: Literal["always", "on-demand"] = "on-demand"
    idle_ttl: Duration = timedelta(minutes=10)
    slots: Annotated[int, Field(ge=1, le=256)] | None = Field(None, description="Requests in the engine at once.")
    context: Annotated[int, Field(ge=1)] | None = Field(None, description="Tokens of prompt and answer; unset: the model's own.")
    engine: str | None = Field(None, description="Adapter to use; unset: chosen from tasks and config.json.")

    def does(self, task: Task) -> bool:
        """Return whether the model can do *task*."""
        return task in self.tasks or (task is Task.CHAT and Task.VISION in self.tasks)

    @property
    def directory(self) -> Path | None:
        """The model's own directory, absolute; None for a model of the hub."""
        return Path(self.repo) if self.repo.startswith("/") else None
