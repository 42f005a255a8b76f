"""From a chat's request to its prompt, and to what is markup in its answer: turns, tools and thinking in a model's own format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from app.engines.held_calls import HeldCallReader
from app.engines.lm_library import ThinkTags, think_tags
from app.engines.markup import PLAIN, CallReader, Markup
from app.engines.thinking import ThinkingBudget
from app.engines.tokenizing import Tokenizing
from app.engines.tool_prompt import told_in_words
from app.engines.vlm_library_tools import JSON_CALLS, LibraryCallReader, call_tags, syntax_of
from app.structure.answer import AnswerShape, ToolSpec, ToolSyntax
from app.structure.call_stream import is_whole_call

__all__ = ["Conversation", "Conversations", "parts_of", "plain_text"]

_FORMS: Final[Mapping[str, Literal["json", "qwen3_coder"]]] = {JSON_CALLS: "json", "qwen3_coder": "qwen3_coder"}
"""Syntaxes that a grammar is written for; a call that must be made, or must be right, is made in one of them."""

# OpenAI's newer name for the same role; templates know the older one.
_ROLES: Final = {"developer": "system"}
# Of gpt-oss (OpenAI's harmony format), whose tags are no pair of tokens.
_HARMONY_THINK: Final = ("<|channel|>analysis<|message|>", "<|end|>")
_HARMONY_DROPPED: Final = ("<|start|>assistant", "<|channel|>final<|message|>", "<|channel|>commentary<|message|>")
_EFFORT_TOKENS: Final = {"minimal": 512, "low": 2048, "medium": 8192}  # "high" and above: as many as the answer may have
_MISTRAL_ID: Final = 9  # characters of a call's id in its templates

_Request = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat, ready for the model."""

    prompt: list[int]
    markup: Markup
    thinks: bool  # it was asked to, and can
    thinking: ThinkingBudget | None
    shape: AnswerShape  # what the answer is held to


class Conversations:
    """Puts the chats of one model into its format.

    Args:
        tokenizing: Of the model.
        spelled: The bytes of every token.
        holds: Whether answers can be held to a grammar.
    """

    def __init__(self, tokenizing: Tokenizing, spelled: Sequence[bytes], *, holds: bool) -> None:
        self._tokenizing = tokenizing
        self._spelled = spelled
        self._holds = holds
        tokenizer = tokenizing.tokenizer
        self._syntax = syntax_of(tokenizer.chat_template) if tokenizing.has_chat_template else None
        self._tags: ThinkTags | None = think_tags(tokenizer)
        self._special = {int(token): str(tokenizer.convert_ids_to_tokens(int(token))) for token in tokenizer.all_special_ids}

    @property
    def tag_tokens(self) -> frozenset[int]:
        """The tokens of the tags around what is thought."""
        return frozenset((*self._tags.start_tokens, *self._tags.end_tokens)) if self._tags else frozenset()

    def read(self, request: _Request, edit: Callable[[str], str] = str) -> Conversation:
        """Return the conversation that *request* asks to go on with.

        Args:
            request: Of a chat.
            edit: Changes what the template wrote.

        Raises:
            InvalidRequest: The template refuses it, or a variable may not be set.
        """
        tools = _callable_tools(request)
        own = self._syntax is not None and (self._syntax in _FORMS or not _enforced(request, tools))
        syntax = (self._syntax if own else JSON_CALLS) if tools else None
        messages = [_turn(message, short_ids=self._syntax == "mistral") for message in request["messages"]]
        if not own:
            messages = told_in_words(messages, tools)
        variables = dict(request.get("chat_template_kwargs") or {})
        asked = _asked_to_think(request, variables)
        thinks = bool(asked)
        variables |= {"enable_thinking": thinks, "thinking": thinks}
        if effort := request.get("reasoning_effort"):
            variables.setdefault("reasoning_effort", effort)
        prompt, text = self._tokenizing.encode_chat(messages, variables, tools if own else (), edit)
        shape = self._shape(request, text, syntax, tools, thinks=thinks)
        markup = self._markup(text, syntax, tools, shape)
        return Conversation(
            prompt=prompt,
            markup=markup,
            thinks=thinks and self._tags is not None,
            thinking=self._budget(markup, None if asked is None else _budget_tokens(request) if asked else 0),
            shape=shape,
        )

    def _shape(
        self, request: _Request, prompt: str, syntax: str | None, tools: Sequence[Mapping[str, Any]], *, thinks: bool
    ) -> AnswerShape:
        calls = ToolSyntax(_FORMS[syntax], *call_tags(syntax)) if syntax and syntax in _FORMS and self._holds else None
        functions = [tool["function"] for tool in tools if calls]
        return AnswerShape(
            think="open" if self._opened(prompt) else "may" if thinks and self._tags else "no",
            think_tags=(self._tags.start, self._tags.end) if self._tags else None,
            calls=calls,
            tools=tuple(ToolSpec(one["name"], one.get("parameters"), strict=bool(one.get("strict"))) for one in functions),
            choice=("required" if must_call(request) else "auto") if calls else "none",
            parallel=request.get("parallel_tool_calls") is not False,
            content=_content(request.get("response_format")),
        )

    def _markup(self, prompt: str, syntax: str | None, tools: Sequence[Mapping[str, Any]], shape: AnswerShape) -> Markup:
        harmony = self._syntax == "harmony"
        think = _HARMONY_THINK if harmony else (self._tags.start, self._tags.end) if self._tags else None
        call = call_tags(syntax) if syntax else None
        dropped = _HARMONY_DROPPED if harmony else ()
        if think is None and call is None:
            return PLAIN
        tags = [tag for tag in (*(think or ()), *(call or ()), *dropped) if tag]
        return Markup(
            think=think,
            opened=self._opened(prompt),
            call=call,
            reader=_reader(syntax, tools, shape) if syntax else None,
            whole=partial(is_whole_call, shape.calls, shape.tools) if shape.calls else None,
            only_calls=shape.choice == "required",
            data=shape.content is not None,
            one_call=not shape.parallel,
            dropped=dropped,
            spelled={token: text for token, text in self._special.items() if text and any(text in tag for tag in tags)},
        )

    def _opened(self, prompt: str) -> bool:
        """Return whether *prompt* ends within an open tag for thinking."""
        return self._tags is not None and prompt.rstrip().endswith(self._tags.start)

    def _budget(self, markup: Markup, tokens: int | None) -> ThinkingBudget | None:
        """Return the bound of *tokens*. Of none, where the model is not to think: some templates begin with a thought in any case."""
        if tokens is None or self._tags is None:
            return None
        closing = tuple(self._tokenizing.encode_bare(f"\n{self._tags.end}\n\n"))
        return ThinkingBudget(tokens, markup, self._spelled, closing)


def _reader(syntax: str, tools: Sequence[Mapping[str, Any]], shape: AnswerShape) -> Callable[[], CallReader]:
    return partial(HeldCallReader, shape.calls, shape.tools) if shape.calls else partial(LibraryCallReader, syntax, tools)


def _content(response_format: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the schema of what is said, None where it may be any text."""
    if response_format is None or response_format["type"] == "text":
        return None
    schema: Mapping[str, Any] = response_format["json_schema"]["schema"] if response_format["type"] == "json_schema" else {}
    return schema


def plain_text(content: str | Sequence[Mapping[str, str]] | None) -> str:
    """Return a turn's text, whether it came whole, in parts, or not at all."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def parts_of(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the parts of a turn; of one that is a text, or nothing, none."""
    content = message.get("content")
    return content if isinstance(content, list) else ()


def _shown(content: str | Sequence[Mapping[str, Any]] | None) -> str | list[dict[str, str]]:
    """Return a turn as chat templates take it: a text, or, where something is shown, parts of which some are that."""
    if content is None or isinstance(content, str) or all(part["type"] == "text" for part in content):
        return plain_text(content)
    return [{"type": "text", "text": part["text"]} if part["type"] == "text" else {"type": part["type"]} for part in content]


def _turn(message: Mapping[str, Any], *, short_ids: bool) -> dict[str, Any]:
    """Return a message as chat templates take it: arguments of calls are objects there."""
    named = {name: message[name] for name in ("name", "reasoning_content") if message.get(name)}
    turn = {"role": _ROLES.get(message["role"], message["role"]), "content": _shown(message.get("content")), **named}
    if calls := message.get("tool_calls"):
        turn["tool_calls"] = [
            {"id": _id(call["id"], short=short_ids), "type": "function", "function": _function(call["function"])} for call in calls
        ]
    if message.get("tool_call_id"):
        turn["tool_call_id"] = _id(message["tool_call_id"], short=short_ids)
    return turn


def _function(function: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call as templates take it. Arguments that break off are one argument, a text: the model sees what it wrote."""
    text = function.get("arguments") or "{}"
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = {"arguments": text}
    return {"name": function["name"], "arguments": arguments}


def _id(call_id: str, *, short: bool) -> str:
    return hashlib.sha256(call_id.encode()).hexdigest()[:_MISTRAL_ID] if short else call_id


def _callable_tools(request: _Request) -> tuple[Mapping[str, Any], ...]:
    """Return the tools that may be called."""
    tools, choice = request.get("tools") or (), request.get("tool_choice")
    if choice == "none":
        return ()
    if isinstance(choice, Mapping):
        allowed = choice["allowed_tools"]["tools"] if "allowed_tools" in choice else [choice]
        names = {one["function"]["name"] for one in allowed}
        return tuple(tool for tool in tools if tool["function"]["name"] in names)
    return tuple(tools)


def must_call(request: _Request) -> bool:
    """Return whether an answer has to call a tool."""
    choice = request.get("tool_choice")
    if isinstance(choice, Mapping):
        return "function" in choice or choice["allowed_tools"]["mode"] == "required"
    return choice == "required"


def _enforced(request: _Request, tools: Sequence[Mapping[str, Any]]) -> bool:
    return must_call(request) or any(tool["function"].get("strict") for tool in tools)


def _asked_to_think(request: _Request, variables: Mapping[str, Any]) -> bool | None:
    """Return whether the model is asked to think, or not to, by the plainest word that was said of it; None: nothing was said."""
    for said in (request.get("enable_thinking"), variables.get("enable_thinking"), variables.get("thinking")):
        if said is not None:
            return bool(said)
    if request.get("thinking_budget") is not None:
        return bool(request["thinking_budget"])
    effort = request.get("reasoning_effort")
    return None if effort is None else effort != "none"


def _budget_tokens(request: _Request) -> int | None:
    """Return how many tokens may be thought; None: as many as the answer may have."""
    tokens = request.get("thinking_budget")
    return _EFFORT_TOKENS.get(request.get("reasoning_effort") or "") if tokens is None else int(tokens)
