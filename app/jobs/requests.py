"""OpenAI's request bodies, checked. What the API accepts is what the worker can rely on.

A field that OpenAI knows and this version cannot honour is refused by name
rather than ignored; fields nobody knows are let through and ignored, as
OpenAI's own clients send them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from app.jobs.bodies import KEEP_ALIVE_WORDS, MAX_TOKENS, Body, KeepAlive, ModelName, Seed, TokenId, refusal, refuse_unsupported
from app.jobs.messages import ChatMessage
from app.jobs.response_formats import ResponseFormat
from app.jobs.tools import FunctionTool, ToolChoice, chosen_tools

__all__ = [
    "ChatRequest",
    "CompletionRequest",
    "DownloadRequest",
    "EmbeddingRequest",
    "LoadRequest",
    "StreamOptions",
    "prompts_of",
]

BiasedToken = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}$")]

_MOST_CHOICES = 128  # of one completion: prompts times n

_MOST_PICTURES = 100
_MOST_VIDEOS = 8

_MOST_TOOLS = 128  # OpenAI's limit

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class StreamOptions(Body):
    """Options of a streamed answer."""

    include_usage: bool = False
    include_obfuscation: bool = Field(
        default=False, description="Pad events to even sizes. OpenAI's default is true; here nobody pays unless asked."
    )


class _Generation(Body):
    """What every request for text may say, whatever its prompt is made of."""

    # field -> values that ask for nothing
    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {}

    model: ModelName | None = Field(None, examples=["chat"])
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = Field(None, description="Answers to each prompt; each is drawn by itself.")
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    stop: str | Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(max_length=16)] | None = None
    logit_bias: Annotated[dict[BiasedToken, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=1024)] | None = Field(
        None, description="Token id to what is added to its logit."
    )
    seed: Seed | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    user: str | None = None
    keep_alive: KeepAlive | None = Field(None, description=KEEP_ALIVE_WORDS)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe also what is refused."""
        schema = handler(core_schema)
        fields = handler.resolve_ref_schema(schema)["properties"]
        for name, harmless in cls.unsupported.items():
            fields[name] = {"enum": list(harmless), "description": "Not supported by this version."}
        return schema

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, data: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever came
        refuse_unsupported(data, cls.unsupported)
        return data


class ChatRequest(_Generation):
    """Body of ``POST /v1/chat/completions``."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "functions": (None, []),
        "function_call": (None, "none", "auto"),
        "audio": (None,),
        "modalities": (None, ["text"]),
    }

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    fit_max_tokens: bool | None = Field(
        None, description="Where prompt and max_tokens together exceed the context: answer with what is left, rather than refuse."
    )
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    chat_template_kwargs: dict[str, JsonValue] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=_MOST_TOOLS)] | None = None
    tool_choice: ToolChoice | None = Field(None, description="auto where there are tools. required and a named one are enforced.")
    parallel_tool_calls: bool | None = Field(None, description="false: at most one call in an answer.")
    enable_thinking: bool | None = Field(None, description="Whether a model that can think does; it does not unless asked.")
    reasoning_effort: Effort | None = Field(
        None,
        description="none: no thinking; else a model that can does: minimal for 512 tokens at most, low 2048, medium 8192.",
    )
    thinking_budget: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = Field(
        None, description="Tokens that may be thought; then the answer begins. 0: no thinking."
    )
    response_format: ResponseFormat | None = Field(
        None, description="What the answer is made of. A schema is always kept, `strict` or not."
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise refusal(param="top_logprobs", message="needs logprobs to be true")
        chosen_tools(self.tools or [], self.tool_choice)
        if self.pictures > _MOST_PICTURES:
            raise refusal(param="messages", message=f"may show {_MOST_PICTURES} pictures at most, not {self.pictures}")
        if self.videos > _MOST_VIDEOS:
            raise refusal(param="messages", message=f"may show {_MOST_VIDEOS} videos at most, not {self.videos}")
        return self

    @property
    def pictures(self) -> int:
        """How many pictures the conversation shows."""
        return sum(message.pictures for message in self.messages)

    @property
    def videos(self) -> int:
        """How many videos the conversation shows."""
        return sum(message.videos for message in self.messages)


class CompletionRequest(_Generation):
    """Body of ``POST /v1/completions``: text to go on with, as it is, without a chat template."""

    unsupported: ClassVar[Mapping[str, tuple[object, ...]]] = {"suffix": (None, "")}

    prompt: (
        Annotated[str, StringConstraints(min_length=1)]
        | Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(min_length=1, max_length=_MOST_CHOICES)]
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, max_length=_MOST_CHOICES)]
    )
    best_of: Annotated[int, Field(ge=1, le=16)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None

    @model_validator(mode="after")
    def _check_choices(self) -> Self:
        n = self.n or 1
        if self.best_of not in {None, n}:
            raise refusal(param="best_of", message="must equal n: every answer that is drawn is returned")
        if len(prompts_of(self.prompt)) * n > _MOST_CHOICES:
            raise refusal(param="n", message=f"times the number of prompts must be at most {_MOST_CHOICES}")
        if self.echo and self.logprobs is not None:
            raise refusal(param="logprobs", message="cannot be had with echo: those of a prompt are not computed")
        return self


def prompts_of(value: Any) -> list[str | list[int]]:  # noqa: ANN401 - one of four shapes, checked above
    """Return the prompts of a completion one by one: a text, several, one as token ids, or several."""
    return [value] if isinstance(value, str) or isinstance(value[0], int) else list(value)


class EmbeddingRequest(Body):
    """Body of ``POST /v1/embeddings``."""

    model: ModelName | None = Field(None, examples=["embedding"])
    input: (
        Annotated[str, StringConstraints(min_length=1)]
        | Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(min_length=1, max_length=2048)]
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, max_length=2048)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=MAX_TOKENS)] | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, le=MAX_TOKENS)] | None = Field(
        None, description="Cut longer inputs to this many tokens, -1: to the model's context. Unset: a longer input is an error."
    )
    user: str | None = None
    keep_alive: KeepAlive | None = Field(None, description=KEEP_ALIVE_WORDS)


class DownloadRequest(Body):
    """What a job of kind ``download`` is asked for."""

    model: ModelName = Field(description="Any name of the catalog, or the name of a repository on the hub.")


class LoadRequest(Body):
    """What may be said of a model that is to be in memory."""

    keep_alive: KeepAlive | None = Field(
        None, description="For how long nothing else takes its memory: seconds or `10m`; -1: until it is unloaded."
    )
