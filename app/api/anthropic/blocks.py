"""The blocks that Anthropic's turns consist of, checked.

Fields that change nothing here (``cache_control``, ``citations``, a thought's
``signature``) are let through and ignored.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, StringConstraints, model_validator

from app.jobs.bodies import Body, refusal
from app.jobs.tools import ToolName

__all__ = [
    "AssistantBlock",
    "DocumentBlock",
    "ImageBlock",
    "RedactedThinkingBlock",
    "SearchResultBlock",
    "ShownBlock",
    "TextBlock",
    "ThinkingBlock",
    "ToolResultBlock",
    "ToolUseBlock",
    "UserBlock",
    "refuse_other_kinds",
]

_Id = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def refuse_other_kinds(data: Any, field: str, taken: Collection[str], *, may: str) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
    """Refuse, by name, what this version does not take.

    Args:
        data: An object as it came; returned.
        field: Its list of blocks, or its one block.
        taken: What may be there.
        may: What it is in which they may be.

    Raises:
        PydanticCustomError: There is something else.
    """
    inside = data.get(field) if isinstance(data, dict) else None
    for number, block in enumerate(inside if isinstance(inside, list) else [inside]):
        kind = block.get("type") if isinstance(block, dict) else None
        if isinstance(kind, str) and kind not in taken:
            where = f"{field}.{number}.type" if isinstance(inside, list) else f"{field}.type"
            raise refusal(param=where, message=f"is {kind[:40]!r}; {may} may have {', '.join(taken)} in this version")
    return data


class TextBlock(Body):
    """A text."""

    type: Literal["text"]
    text: str


class Base64Image(Body):
    """A picture, in the request itself."""

    type: Literal["base64"]
    media_type: Annotated[str, StringConstraints(pattern=r"^image/[a-z0-9.+-]{1,40}$")] = Field(examples=["image/png"])
    data: Annotated[str, StringConstraints(min_length=1)]


class UrlImage(Body):
    """A picture elsewhere."""

    type: Literal["url"]
    url: Annotated[str, StringConstraints(min_length=1)] = Field(description="An http or https address, or a data URI.")


class ImageBlock(Body):
    """A picture."""

    type: Literal["image"]
    source: Annotated[Base64Image | UrlImage, Field(discriminator="type")]

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_sources(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        return refuse_other_kinds(data, "source", ("base64", "url"), may="a picture")


class PlainText(Body):
    """A document's text."""

    type: Literal["text"]
    media_type: Literal["text/plain"] = "text/plain"
    data: str


class BlockContent(Body):
    """A document's text and pictures."""

    type: Literal["content"]
    content: str | list[Annotated[TextBlock | ImageBlock, Field(discriminator="type")]]

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_blocks(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        return refuse_other_kinds(data, "content", ("text", "image"), may="a document")


class DocumentBlock(Body):
    """A document, shown as its text."""

    type: Literal["document"]
    source: Annotated[PlainText | BlockContent, Field(discriminator="type")]
    title: str | None = None
    context: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_files(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        source = data.get("source") if isinstance(data, dict) else None
        if isinstance(source, dict) and (source.get("media_type") == "application/pdf" or source.get("type") in {"base64", "url"}):
            message = "is a file such as a PDF, which chats do not take; POST /v1/ocr makes text of it, which is taken as 'text'"
            raise refusal(param="source", message=message)
        return refuse_other_kinds(data, "source", ("text", "content"), may="a document")


class SearchResultBlock(Body):
    """What a search of the caller's found, shown as its text."""

    type: Literal["search_result"]
    source: str
    title: str
    content: list[TextBlock]


class ToolUseBlock(Body):
    """A call that an earlier answer made."""

    type: Literal["tool_use"]
    id: _Id
    name: ToolName
    input: dict[str, JsonValue]


ShownBlock = Annotated[TextBlock | ImageBlock | DocumentBlock | SearchResultBlock, Field(discriminator="type")]
"""What a model is shown."""


class ToolResultBlock(Body):
    """What came of a call."""

    type: Literal["tool_result"]
    tool_use_id: _Id
    content: str | list[ShownBlock] | None = None
    is_error: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_blocks(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        return refuse_other_kinds(data, "content", ("text", "image", "document", "search_result"), may="a tool's result")


class ThinkingBlock(Body):
    """What an earlier answer thought."""

    type: Literal["thinking"]
    thinking: str


class RedactedThinkingBlock(Body):
    """A thought that only Anthropic could read; dropped."""

    type: Literal["redacted_thinking"]


UserBlock = Annotated[
    TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolResultBlock,
    Field(discriminator="type"),
]
AssistantBlock = Annotated[
    TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock,
    Field(discriminator="type"),
]
