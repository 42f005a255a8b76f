"""OpenAI's bodies for sound, checked: what is to be heard, and what is to be said. As :mod:`app.jobs.requests` does for text.

A form's fields arrive as text; :func:`form_fields` gives them the types that
their names have before they are checked here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from app.jobs.bodies import KEEP_ALIVE_WORDS, Body, KeepAlive, ModelName, Seed, refusal, refuse_unsupported

__all__ = ["SpeechRequest", "TranscriptFormat", "TranscriptionRequest", "TranslationRequest", "form_fields"]

TranscriptFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]
SpeechFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

_MAX_SPOKEN_CHARACTERS = 4096  # OpenAI's limit
_MAX_FILE_ID = 100  # characters; ours are shorter
_MAX_PROMPT_CHARACTERS = 20_000  # whatever the model reads of it, nobody means more
_ARRAYS = frozenset({"timestamp_granularities", "include", "hotwords", "known_speaker_names", "known_speaker_references"})
_NUMBERS = frozenset({"temperature", "keep_alive", "seed", "max_tokens"})
_FLAGS = frozenset({"stream"})


class _Heard(Body):
    """What every request that sends a recording may say."""

    # field -> values that ask for nothing
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {}

    model: ModelName | None = Field(None, examples=["asr"])
    prompt: Annotated[str, StringConstraints(max_length=_MAX_PROMPT_CHARACTERS)] | None = Field(
        None, description="What came before, or what it is about: the model takes names and style from it."
    )
    hotwords: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=200)]], Field(max_length=1000)] | None = Field(
        None, description="Words that are likely to be heard: an array, or a text with a comma between each."
    )
    response_format: TranscriptFormat | None = Field(None, description="`json` where nothing is said.")
    temperature: Annotated[float, Field(ge=0, le=1)] | None = Field(None, description="0, the default: the likeliest words.")
    seed: Seed | None = None
    keep_alive: KeepAlive | None = Field(None, description=KEEP_ALIVE_WORDS)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        refuse_unsupported(data, cls.unsupported)
        if isinstance(data, dict) and data.get("response_format") == "diarized_json":
            raise refusal(param="response_format", message="cannot be 'diarized_json': nothing here tells speakers apart")
        return data


class TranscriptionRequest(_Heard):
    """Form of ``POST /v1/audio/transcriptions``, beside its file."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "include": (None, []),
        "known_speaker_names": (None, []),
        "known_speaker_references": (None, []),
    }

    language: Annotated[str, StringConstraints(min_length=1, max_length=40)] | None = Field(
        None, description="A code of ISO 639 or an English name; unset: heard from the recording.", examples=["en"]
    )
    timestamp_granularities: Annotated[list[Literal["segment", "word"]], Field(max_length=2)] | None = Field(
        None, description="Needs `response_format` to be `verbose_json`."
    )
    stream: bool | None = None
    chunking_strategy: Any = Field(None, description="Taken and ignored: recordings are always cut where nobody speaks.")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise refusal(param="timestamp_granularities", message="needs response_format to be 'verbose_json'")
        if self.stream and self.response_format not in {None, "json", "text"}:
            raise refusal(param="stream", message="goes with response_format 'json' or 'text': the others are made when all is heard")
        return self


class TranslationRequest(_Heard):
    """Form of ``POST /v1/audio/translations``, beside its file: whatever is spoken, the text is English."""


class SpeechRequest(Body):
    """Body of ``POST /v1/audio/speech``."""

    model: ModelName | None = Field(None, examples=["tts"])
    input: Annotated[str, StringConstraints(min_length=1, max_length=_MAX_SPOKEN_CHARACTERS)]
    voice: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        None, description="A voice of the model (`GET /v1/audio/voices`), or one of OpenAI's names.", examples=["alloy"]
    )
    instructions: Annotated[str, StringConstraints(max_length=_MAX_PROMPT_CHARACTERS)] | None = Field(
        None, description="How it is to be said."
    )
    language: Annotated[str, StringConstraints(min_length=1, max_length=40)] | None = Field(
        None, description="A code of ISO 639 or an English name; unset: as the text is."
    )
    ref_audio: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        None, description="Of models that clone a voice: an uploaded file's id (`POST /v1/files`) or a `data:` URI, in which it speaks."
    )
    ref_text: Annotated[str, StringConstraints(max_length=_MAX_PROMPT_CHARACTERS)] | None = Field(
        None, description="What is said in `ref_audio`."
    )
    response_format: SpeechFormat = "mp3"
    speed: Annotated[float, Field(ge=0.25, le=4)] = Field(1.0, description="The pitch stays as it is.")
    stream_format: Literal["audio", "sse"] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    seed: Seed | None = None
    keep_alive: KeepAlive | None = Field(None, description=KEEP_ALIVE_WORDS)

    @model_validator(mode="after")
    def _check_reference(self) -> Self:
        if self.ref_audio and len(self.ref_audio) > _MAX_FILE_ID and not self.ref_audio[:5].lower() == "data:":
            raise refusal(param="ref_audio", message="must be the id of an uploaded file (`POST /v1/files`), or a `data:` URI")
        return self

    @model_validator(mode="before")
    @classmethod
    def _read_voice(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        """OpenAI's later clients may send a voice as an object with its id."""
        if isinstance(data, dict) and isinstance(data.get("voice"), dict) and isinstance(data["voice"].get("id"), str):
            return {**data, "voice": data["voice"]["id"]}
        return data


def form_fields(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return a form's fields with the types that their names have; what is not of that type stays text, for validation to name.

    Args:
        pairs: Names and values as they came; an array's name may be repeated, with or without ``[]``.
    """
    fields: dict[str, Any] = {}
    for sent_name, value in pairs:
        name = sent_name.removesuffix("[]")
        if name in _ARRAYS:
            fields.setdefault(name, []).extend(_elements(name, value))
        elif name in _NUMBERS:
            fields[name] = _number(value)
        elif name in _FLAGS:
            fields[name] = {"true": True, "1": True, "false": False, "0": False}.get(value.lower(), value)
        else:
            fields[name] = value
    return fields


def _elements(name: str, value: str) -> list[str]:
    """Read one value of an array: an element; of hot words also several, as a JSON array or with commas or lines between them."""
    if value.startswith("["):
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = None
        if isinstance(parsed, list) and all(isinstance(one, str) for one in parsed):
            return parsed
    if name != "hotwords":
        return [value]
    return [word for part in value.replace("\n", ",").split(",") if (word := part.strip())]


def _number(value: str) -> float | int | str:
    try:
        return int(value)
    except ValueError:
        pass
    try:
        return float(value)
    except ValueError:
        return value
