"""What a job of kind ``transcript`` is asked for, checked: a recording is written down, then corrected. As :mod:`app.jobs.requests`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from app.jobs.bodies import Body, ModelName, refusal

__all__ = ["TranscriptFields", "TranscriptRequest"]

_MAX_PROMPT_CHARACTERS = 20_000
_MAX_HOTWORDS = 10_000

Stage = Literal["transcribe", "correct"]
Hotword = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Prompt = Annotated[str, StringConstraints(max_length=_MAX_PROMPT_CHARACTERS)]


class TranscriptFields(Body):
    """How a recording is to be written down and corrected that comes beside this."""

    model: ModelName | None = Field(None, description="That hears; unset: the role asr.", examples=["asr"])
    correction_model: Annotated[str, StringConstraints(max_length=256)] | None = Field(
        "chat", description="That corrects; empty or null: nothing is corrected.", examples=["chat"]
    )
    stages: Annotated[list[Stage], Field(min_length=1, max_length=2)] = Field(
        ["transcribe", "correct"], description="What is done: `transcribe` alone, or both."
    )
    language: Annotated[str, StringConstraints(min_length=1, max_length=40)] | None = Field(
        None, description="A code of ISO 639 or an English name; unset: heard from the recording.", examples=["en"]
    )
    hotwords: Annotated[list[Hotword], Field(max_length=_MAX_HOTWORDS)] | None = Field(
        None, description="Words that are likely to be said, the likeliest first: each model is told as many as it takes."
    )
    prompt: Prompt | None = Field(None, description="What it is about: the model that hears takes names and style from it.")
    prompt_additions: Prompt | None = Field(None, description="Added to what the correcting model is asked.")
    temperature: Annotated[float, Field(ge=0, le=2)] = Field(0.3, description="Of the correction.")
    piece_characters: Annotated[int, Field(ge=200, le=20_000)] = Field(
        2000, description="Of the text that is corrected at once, at most; less for a model with a small context."
    )

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        if "transcribe" not in self.stages:
            raise refusal(param="stages", message="must have `transcribe`: there is nothing to correct before")
        return self

    @property
    def corrects(self) -> bool:
        """Whether the text is to be corrected."""
        return "correct" in self.stages and bool(self.correction_model)


class TranscriptRequest(TranscriptFields):
    """The same, of a recording that was uploaded; a form brings its own."""

    model_config = ConfigDict(json_schema_extra={"required": ["file_id"]})

    file_id: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        None, description="An uploaded file (`POST /v1/files`)."
    )
