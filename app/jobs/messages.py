"""The turns of a conversation, checked: texts, and pictures and videos between them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from app.jobs.bodies import Body, refusal
from app.jobs.tools import CalledTool

__all__ = ["ChatMessage", "ImagePart", "ImageUrl", "TextPart", "VideoPart", "VideoUrl"]

_PARTS = ("text", "image_url", "video_url")
_OTHER_PARTS = {
    "input_audio": "is audio, which this version does not take",
    "file": "is a file, which this version does not take",
    "video": "are frames of a video, which are sent as 'image_url' each, or as the 'video_url' that they are from",
}


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


class VideoUrl(Body):
    """Where a video is."""

    url: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="A data URI (`data:video/mp4;base64,…`), or an http or https address.", examples=["data:video/mp4;base64,AAAAIGZ0eXA="]
    )


class VideoPart(Body):
    """One video of a message. As vLLM and others have it: OpenAI has none."""

    type: Literal["video_url"]
    video_url: VideoUrl

    @model_validator(mode="before")
    @classmethod
    def _read_short_form(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        """As with pictures."""
        if isinstance(data, dict) and isinstance(data.get("video_url"), str):
            return {**data, "video_url": {"url": data["video_url"]}}
        return data


Part = Annotated[TextPart | ImagePart | VideoPart, Field(discriminator="type")]


class ChatMessage(Body):
    """One turn: of people, of the model, or what a tool that it called answered."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = Field(None, description="May be left out where the assistant called tools.")
    name: str | None = None
    reasoning_content: str | None = Field(None, description="What the assistant thought, where the template wants to see it again.")
    tool_calls: list[CalledTool] | None = Field(None, description="What the assistant called.")
    tool_call_id: str | None = Field(None, description="Which call a tool's message answers.")

    @model_validator(mode="before")
    @classmethod
    def _read_as_sent(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        if not isinstance(data, dict):
            return data
        if data.get("role") == "function" or data.get("function_call"):
            param = "role" if data.get("role") == "function" else "function_call"
            raise refusal(param=param, message="is OpenAI's older way to call functions; use tools, tool_calls and the role 'tool'")
        _refuse_other_parts(data.get("content"))
        # Two names for the same thing are about.
        return data if data.get("reasoning") is None else {"reasoning_content": data["reasoning"], **data}

    @model_validator(mode="after")
    def _check_role(self) -> Self:
        if self.role != "user" and (what := "pictures" if self.pictures else "videos" if self.videos else None):
            raise refusal(param="content", message=f"may have no {what} in a turn of the role {self.role!r}; they belong into the user's")
        if self.content is None and not (self.role == "assistant" and (self.tool_calls or self.reasoning_content)):
            raise refusal(param="content", message="is required: only an assistant that called tools may have said nothing")
        if self.tool_calls and self.role != "assistant":
            raise refusal(param="tool_calls", message=f"may not be in a turn of the role {self.role!r}; they are the assistant's")
        if self.role == "tool" and not self.tool_call_id:
            raise refusal(param="tool_call_id", message="is missing: it says which call this answers")
        return self

    @property
    def pictures(self) -> int:
        """How many pictures the turn shows."""
        return self._count("image_url")

    @property
    def videos(self) -> int:
        """How many videos the turn shows."""
        return self._count("video_url")

    def _count(self, kind: str) -> int:
        return sum(part.type == kind for part in self.content) if isinstance(self.content, list) else 0


def _refuse_other_parts(content: object) -> None:
    *others, last = [repr(kind) for kind in _PARTS]
    known = f"must be {', '.join(others)} or {last}"
    for number, part in enumerate(content if isinstance(content, list) else ()):
        kind = part.get("type", "") if isinstance(part, dict) else None
        if isinstance(kind, str) and kind not in _PARTS:
            what = _OTHER_PARTS.get(kind)
            got = f"got {kind[:40]!r}" if kind else "it is missing"
            raise refusal(param=f"content.{number}.type", message=f"{what}; it {known}" if what else f"{known} ({got})")
