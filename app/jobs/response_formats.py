"""What a chat's answer shall be made of, in OpenAI's words: text, any JSON object, or JSON of a schema."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, JsonValue, StringConstraints
from typing_extensions import TypedDict

from app.jobs.bodies import Body

__all__ = ["JsonSchemaFormat", "ResponseFormat"]


class JsonSchema(TypedDict):
    """A schema and its name. A mapping and no model: models have a method of the name ``schema``."""

    __pydantic_config__ = ConfigDict(extra="ignore", strict=True)  # type: ignore[misc]

    name: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, JsonValue]
    description: NotRequired[str | None]
    strict: NotRequired[bool | None]  # answers are held to it either way


class TextFormat(Body):
    """Free text."""

    type: Literal["text"]


class JsonObjectFormat(Body):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchemaFormat(Body):
    """JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
