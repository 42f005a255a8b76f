"""From Anthropic's requests to chats, and from a chat's errors to the fields that the caller wrote. Pure.

A translated body is one of ``POST /v1/chat/completions``, and is checked as
such: whatever a chat refuses is refused here, in the caller's own terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.api.anthropic.requests import (
    CountTokensRequest,
    MessagesRequest,
    ThinkingAdaptive,
    ThinkingEnabled,
    ToolChoiceOf,
)
from app.api.anthropic.turns import chat_messages
from app.errors import Failure, InferenceError, JobFailed

__all__ = ["Chat", "chat_of"]

_TIERS = {"standard_only": "default"}
_EFFORTS = {"max": "xhigh"}
_CHOICES = {"any": "required"}


@dataclass(frozen=True, slots=True)
class Chat:
    """A translated request."""

    body: dict[str, Any]
    origins: Mapping[str, str]  # paths in the body -> where the caller wrote that

    @contextmanager
    def told_as_sent(self) -> Iterator[None]:
        """Let errors from inside the block name the fields that the caller knows."""
        try:
            yield
        except JobFailed as error:
            raise JobFailed(self._as_sent(error.failure)) from None
        except InferenceError as error:
            fact = self._as_sent(error.as_fact())
            error.message, error.param = fact.message, fact.param
            raise

    def _as_sent(self, fact: Failure) -> Failure:
        if fact.param is None:
            return fact
        param = self._origin(fact.param)
        return fact.model_copy(update={"param": param, "message": fact.message.replace(f"`{fact.param}`", f"`{param}`")})

    def _origin(self, param: str) -> str:
        """Return where the caller wrote *param*: what is known of it, or of the nearest field above it."""
        parts = param.split(".")
        for cut in range(len(parts), 0, -1):
            if origin := self.origins.get(".".join(parts[:cut])):
                return ".".join((origin, *parts[cut:]))
        return param


def chat_of(asked: CountTokensRequest) -> Chat:
    """Return the chat that *asked* asks for."""
    origins = {
        "stop": "stop_sequences",
        "thinking_budget": "thinking.budget_tokens",
        "enable_thinking": "thinking",
        "reasoning_effort": "output_config.effort",
        "user": "metadata.user_id",
    }
    body = {
        "model": asked.model,
        "messages": chat_messages(asked.system, asked.messages, origins),
        **_tools(asked, origins),
        **_thinking(asked),
        **_format(asked, origins),
        **(_generation(asked) if isinstance(asked, MessagesRequest) else {}),
    }
    return Chat({name: value for name, value in body.items() if value is not None}, origins)


def _tools(asked: CountTokensRequest, origins: dict[str, str]) -> dict[str, Any]:
    tools: list[dict[str, Any]] = []
    for number, tool in enumerate(asked.tools or ()):
        function = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema, "strict": tool.strict}
        tools.append({"type": "function", "function": {name: value for name, value in function.items() if value is not None}})
        origins[f"tools.{number}.function"] = f"tools.{number}"
        origins[f"tools.{number}.function.parameters"] = f"tools.{number}.input_schema"
    choice = asked.tool_choice
    if isinstance(choice, ToolChoiceOf):
        chosen: Any = {"type": "function", "function": {"name": choice.name}}
    else:
        chosen = _CHOICES.get(choice.type, choice.type) if choice else None
    one = getattr(choice, "disable_parallel_tool_use", None)
    return {"tools": tools or None, "tool_choice": chosen, "parallel_tool_calls": False if one else None}


def _thinking(asked: CountTokensRequest) -> dict[str, Any]:
    match asked.thinking:
        case None:
            return {}
        case ThinkingEnabled(budget_tokens=budget):
            return {"enable_thinking": True, "thinking_budget": budget}
        case ThinkingAdaptive():
            effort = asked.output_config.effort if asked.output_config else None
            return {"enable_thinking": True, "reasoning_effort": _EFFORTS.get(effort, effort) if effort else None}
        case _:
            return {"enable_thinking": False}


def _format(asked: CountTokensRequest, origins: dict[str, str]) -> dict[str, Any]:
    if asked.format is None:
        return {}
    written = "output_config.format" if asked.output_config and asked.output_config.format else "output_format"
    origins |= {"response_format": written, "response_format.json_schema": written}
    described = {"name": "answer", "schema": asked.format.json_schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": described}}


def _generation(asked: MessagesRequest) -> dict[str, Any]:
    tier = asked.service_tier
    return {
        "max_tokens": asked.max_tokens,
        "fit_max_tokens": True,
        "stop": asked.stop_sequences or None,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "user": asked.metadata.user_id if asked.metadata else None,
        "stream": asked.stream,
        "service_tier": _TIERS.get(tier, tier) if tier else None,
    }
