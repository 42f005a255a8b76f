"""Items of a response's input, checked as OpenAI writes them. What cannot be taken is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from app.api.responses.kinds import refuse_kinds
from app.jobs.bodies import Body, refusal

__all__ = [
    "CallOutput",
    "CustomCall",
    "CustomCallOutput",
    "FunctionCall",
    "InputImage",
    "InputItem",
    "Message",
    "Part",
    "Reasoning",
]

_ITEMS: Mapping[str, str] = {
    "item_reference": "send the item itself, or previous_response_id",
    "compaction": "only OpenAI can read it",
}
_PARTS: Mapping[str, str] = {
    "input_file": "send its text as input_text; POST /v1/ocr reads documents",
    "input_audio": "POST /v1/audio/transcriptions writes recordings down",
}
_PART_TYPES = ("input_text", "output_text", "text", "input_image", "refusal")
_ITEM_TYPES = (
    *("message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"),
    "reasoning",
)

CallId = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _check_part(data: object) -> object:
    return refuse_kinds(data, _PART_TYPES, _hint(data, _PARTS))


def _check_item(data: object) -> object:
    return refuse_kinds(data, _ITEM_TYPES, _hint(data, _ITEMS), default="message")


def _hint(data: object, hints: Mapping[str, str]) -> str:
    kind = data.get("type") if isinstance(data, dict) else None
    return hints.get(kind, "") if isinstance(kind, str) else ""


class InputText(Body):
    """A text."""

    type: Literal["input_text", "output_text", "text"]
    text: str


class Refused(Body):
    """What an assistant said instead of an answer."""

    type: Literal["refusal"]
    refusal: str


class InputImage(Body):
    """A picture."""

    type: Literal["input_image"]
    image_url: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        None,
        description="A data URI (`data:image/png;base64,…`), or an http or https address.",
        examples=["data:image/png;base64,iVBORw0KGgo="],
    )
    detail: Literal["auto", "low", "high", "original"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_files(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        if isinstance(data, dict) and not data.get("image_url"):
            param = "file_id" if data.get("file_id") else "image_url"
            raise refusal(param=param, message="cannot be used; a picture is sent as `image_url`, a data URI or an address")
        return data


Part = Annotated[InputText | InputImage | Refused, Field(discriminator="type"), BeforeValidator(_check_part)]
Content = str | list[Part]


class Message(Body):
    """What somebody said."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content


class FunctionCall(Body):
    """A call of a function that an earlier answer made."""

    type: Literal["function_call"]
    call_id: CallId
    name: str
    arguments: str = Field(description="A JSON object, as text.")
    namespace: str | None = None


class CustomCall(Body):
    """A call of a custom tool that an earlier answer made."""

    type: Literal["custom_tool_call"]
    call_id: CallId
    name: str
    input: str
    namespace: str | None = None


class CallOutput(Body):
    """What a function answered."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: Content


class CustomCallOutput(Body):
    """What a custom tool answered."""

    type: Literal["custom_tool_call_output"]
    call_id: CallId
    output: Content


class ThoughtText(Body):
    """A piece of what was thought, or of its summary."""

    type: Literal["reasoning_text", "summary_text", "text"]
    text: str


class Reasoning(Body):
    """What the assistant thought before it went on."""

    type: Literal["reasoning"]
    content: list[ThoughtText] | None = None
    summary: list[ThoughtText] | None = Field(None, description="Taken where there is no content.")
    encrypted_content: str | None = Field(None, description="Ignored: only who wrote it can read it.")


def _kind_of(data: Any) -> str:  # noqa: ANN401 - a dict, or an item
    return str(data.get("type", "message") if isinstance(data, dict) else getattr(data, "type", "message"))


InputItem = Annotated[
    Annotated[Message, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[CallOutput, Tag("function_call_output")]
    | Annotated[CustomCall, Tag("custom_tool_call")]
    | Annotated[CustomCallOutput, Tag("custom_tool_call_output")]
    | Annotated[Reasoning, Tag("reasoning")],
    Discriminator(_kind_of),
    BeforeValidator(_check_item),
]
