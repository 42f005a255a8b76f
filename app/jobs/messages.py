"""The turns of a conversation, checked: texts, and pictures between them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from app.jobs.bodies import Body, refusal

__all__ = ["ChatMessage", "ImagePart", "ImageUrl", "TextPart"]

_LATER_PARTS = {"input_audio": "audio", "file": "a file", "video_url": "a video"}


class TextPart(Body):
    """One text part of a message."""

    type: Literal["text"]
    text: str


class ImageUrl(Body):
    """Where a picture is."""

    url: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="A data URI (`data:image/png;base64,…`), or an http or https address.", examples=["data:image/png;base64,iVBORw0KGgo="]
    )
    detail: Literal["auto", "low", "high"] | None = Field(None, description="low: a version of at most 512 x 512 pixels is looked at.")


class ImagePart(Body):
    """One picture of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        """Some clients send the address alone."""
        if isinstance(data, dict) and isinstance(data.get("image_url"), str):
            return {**data, "image_url": {"url": data["image_url"]}}
        return data


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ChatMessage(Body):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_tools(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        if isinstance(data, dict):
            if data.get("role") in ("tool", "function"):
                raise refusal(
                    param="role", message=f"{data['role']!r} is for tools, which this version does not support; leave such messages out"
                )
            for name in ("tool_calls", "function_call"):
                if data.get(name):
                    raise refusal(param=name, message="is not supported by this version; leave it out")
            _refuse_other_media(data.get("content"))
        return data

    @model_validator(mode="after")
    def _check_pictures(self) -> Self:
        if self.pictures and self.role != "user":
            raise refusal(param="content", message=f"may have no pictures in a turn of the role {self.role!r}; they belong into the user's")
        return self

    @property
    def pictures(self) -> int:
        """How many pictures the turn shows."""
        return 0 if isinstance(self.content, str) else sum(part.type == "image_url" for part in self.content)


def _refuse_other_media(content: object) -> None:
    for number, part in enumerate(content if isinstance(content, list) else ()):
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(kind, str) and (what := _LATER_PARTS.get(kind)):
            message = f"is {what}, which this version does not take; it must be 'text' or 'image_url'"
            raise refusal(param=f"content.{number}.type", message=message)
