"""Bodies that are wrong, the parameter at fault, and words that its refusal has."""

from __future__ import annotations

from typing import Any

__all__ = ["HELLO", "WRONG_CHATS", "WRONG_COMPLETIONS", "WRONG_EMBEDDINGS", "chat"]

HELLO = [{"role": "user", "content": "Hello"}]


CALL: dict[str, Any] = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f"}}


def chat(**fields: object) -> dict[str, object]:
    return {"messages": HELLO, **fields}


def called(arguments: str) -> dict[str, object]:
    return {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": arguments}}]}


WRONG_CHATS = [
    # body, param, part of the message
    ({}, "messages", "is required"),
    (chat(messages=[]), "messages", "at least 1 item"),
    (chat(messages="Hello"), "messages", "must be an array"),
    (chat(messages=[5]), "messages.0", "must be an object"),
    (chat(messages=[{"role": "wizard", "content": "x"}]), "messages.0.role", "'system', 'developer', 'user', 'assistant' or 'tool'"),
    (chat(messages=[*HELLO, {"role": "tool", "content": "x"}]), "messages.1.tool_call_id", "which call this answers"),
    (chat(messages=[*HELLO, {"role": "function", "content": "x"}]), "messages.1.role", "use tools"),
    (chat(messages=[{"role": "assistant", "content": None, "tool_calls": [{}]}]), "messages.0.tool_calls.0.id", "is required"),
    *(
        (chat(messages=[called(arguments)]), "messages.0.tool_calls.0.function.arguments", words)
        for arguments, words in (
            ("[1]", "a JSON object"),
            ("a text", "a JSON object"),
            ('{"a":' + "[" * 100_000, "100 levels"),
            ('{"a":' + "[" * 900 + "]" * 900 + "}", "100 levels"),
            ('{"a": NaN}', "not finite"),
            ('{"a": 1e999}', "not finite"),
            ('{"a": "\\ud800"}', "halves of characters"),
        )
    ),
    (chat(messages=[{"role": "assistant"}]), "messages.0.content", "is required"),
    (chat(messages=[{"role": "user", "content": "x", "tool_calls": [CALL]}]), "messages.0.tool_calls", "the assistant's"),
    (chat(messages=[{"role": "user", "content": [{"type": "input_audio"}]}]), "messages.0.content.0.type", "this version does not take"),
    (chat(messages=[{"role": "user"}]), "messages.0.content", "is required"),
    (chat(messages=[{"role": "user", "content": 5}]), "messages.0.content", "must be a string or an array (got 5)"),
    (chat(messages=[*HELLO, {"role": "user", "content": [{"type": "image_url"}]}]), "messages.1.content.0.image_url", "is required"),
    (chat(messages=[{"role": "user", "content": [{"type": "file"}]}]), "messages.0.content.0.type", "it must be 'text', 'image_url' or"),
    (chat(messages=[{"role": "user", "content": [{"type": "foo"}]}]), "messages.0.content.0.type", "or 'video_url' (got 'foo')"),
    (chat(messages=[{"role": "user", "content": [{"text": "x"}]}]), "messages.0.content.0.type", "or 'video_url' (it is missing)"),
    (chat(messages=[{"role": "user", "content": [{"type": "text"}]}]), "messages.0.content.0.text", "is required"),
    (chat(temperature="hot"), "temperature", "must be a number"),
    (chat(temperature="0.5"), "temperature", "must be a number"),
    (chat(temperature=3), "temperature", "at most 2"),
    (chat(temperature=-1), "temperature", "at least 0"),
    (chat(top_p=0), "top_p", "greater than 0"),
    (chat(max_tokens=0), "max_tokens", "at least 1"),
    (chat(max_tokens=10**12), "max_tokens", "at most"),
    (chat(max_tokens=1.5), "max_tokens", "whole number"),
    (chat(max_tokens=True), "max_tokens", "whole number"),
    (chat(max_completion_tokens="many"), "max_completion_tokens", "whole number"),
    (chat(seed=2**64), "seed", "at most"),
    (chat(stop=5), "stop", "a string or an array"),
    (chat(stop=["a", ""]), "stop.1", "at least 1 character"),
    (chat(stream="yes"), "stream", "true or false"),
    (chat(stream_options=[]), "stream_options", "must be an object"),
    (chat(tools=[{"type": "function"}]), "tools.0.function", "is required"),
    (chat(tools=[{"type": "custom", "custom": {"name": "x"}}]), "tools.0.type", "must be 'function'"),
    (chat(tools=[TOOL, TOOL]), "tools", "more than one function of the name 'f'"),
    (chat(tools=[TOOL], tool_choice="always"), "tool_choice", "'none', 'auto' or 'required'"),
    (chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "g"}}), "tool_choice", "none of the tools: f"),
    (chat(tool_choice="required"), "tool_choice", "needs tools"),
    (chat(n=0), "n", "at least 1"),
    (chat(n=17), "n", "at most 16"),
    (chat(logprobs=1), "logprobs", "true or false"),
    (chat(top_logprobs=3), "top_logprobs", "needs logprobs to be true"),
    (chat(logprobs=True, top_logprobs=21), "top_logprobs", "at most 20"),
    (chat(logit_bias={"5": 101}), "logit_bias.5", "at most 100"),
    (chat(logit_bias={"hello": 1}), "logit_bias.hello", "pattern"),
    (chat(logit_bias=[5]), "logit_bias", "must be an object"),
    (chat(stream_options={"include_usage": 1}), "stream_options.include_usage", "true or false"),
    (chat(model=5), "model", "must be a string"),
    (chat(model=""), "model", "at least 1 character"),
    (chat(model="m" * 1_000_000), "model", "at most 256 characters"),
    (chat(service_tier="slow"), "service_tier", "must be 'auto', 'default', 'flex' or 'priority'"),
    (chat(model="tiny-embed"), "model", "cannot do 'chat'"),
    (5, None, "must be an object"),
    ([], None, "must be an object"),
    (None, None, "must be an object"),
]
WRONG_COMPLETIONS = [
    ({}, "prompt", "is required"),
    ({"prompt": ""}, "prompt", "at least 1 character"),
    ({"prompt": []}, "prompt", "at least 1 item"),
    ({"prompt": ["a", 5]}, "prompt.1", "must be a string"),
    ({"prompt": [[1], []]}, "prompt.1", "at least 1 item"),
    ({"prompt": ["x"] * 129}, "prompt", "at most 128 items"),
    ({"prompt": ["x"] * 9, "n": 15}, "n", "times the number of prompts must be at most 128"),
    ({"prompt": "x", "suffix": "y"}, "suffix", "not supported"),
    ({"prompt": "x", "best_of": 2}, "best_of", "must equal n"),
    ({"prompt": "x", "n": 2, "best_of": 3}, "best_of", "must equal n"),
    ({"prompt": "x", "logprobs": True}, "logprobs", "whole number"),
    ({"prompt": "x", "logprobs": 21}, "logprobs", "at most 20"),
    ({"prompt": "x", "logprobs": 0, "echo": True}, "logprobs", "cannot be had with echo"),
    ({"prompt": "x", "model": "tiny-embed"}, "model", "cannot do 'chat'"),
]
WRONG_EMBEDDINGS = [
    ({}, "input", "is required"),
    ({"input": ""}, "input", "at least 1 character"),
    ({"input": []}, "input", "at least 1 item"),
    ({"input": None}, "input", "a string or an array"),
    ({"input": {"text": "x"}}, "input", "a string or an array"),
    ({"input": ["a", ""]}, "input.1", "at least 1 character"),
    ({"input": ["a", 5]}, "input.1", "must be a string"),
    ({"input": [1, -1]}, "input.1", "at least 0"),
    ({"input": [[1], []]}, "input.1", "at least 1 item"),
    ({"input": ["x"] * 2049}, "input", "at most 2048 items"),
    ({"input": "x", "dimensions": 0}, "dimensions", "at least 1"),
    ({"input": "x", "encoding_format": "int8"}, "encoding_format", "'float' or 'base64'"),
    ({"input": "x", "model": "tiny-chat"}, "model", "cannot do 'embedding'"),
]
