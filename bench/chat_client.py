"""A chat client that reads its own clock. It uses aiohttp, so that the client is not the limit."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.homes import Server

__all__ = ["DEFINITIONS", "Answer", "ask", "body", "chat", "together"]

DEFINITIONS = (
    "First token (TTFT): from before the request is sent to the first chunk whose delta has text, one client on an idle server. "
    "Between tokens (ITL): (last such chunk - first such chunk) / (output tokens - 1). Tokens are those of the server's own usage."
)
_TIMEOUT = aiohttp.ClientTimeout(total=600)
_TOPICS = ("the sea", "a bakery", "old clocks", "the first snow", "trains", "a lighthouse", "bees", "maps")


@dataclass(slots=True)
class Answer:
    """One call, by the client's clock, in seconds."""

    first_s: float = 0.0
    whole_s: float = 0.0
    tokens: int = 0
    between_s: float = 0.0
    error: str | None = None
    text: list[str] = field(default_factory=list)


def body(model: str, salt: str, tokens: int) -> dict[str, Any]:
    """Return a greedy request that no prefix cache has seen: *salt* comes first, and differs in every round."""
    topic = _TOPICS[sum(salt.encode()) % len(_TOPICS)]
    prompt = f"{salt}: write a long story about {topic}. Tell what each person sees, says and thinks, day by day."
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def chat(session: aiohttp.ClientSession, server: Server, request: dict[str, Any]) -> Answer:
    """Stream one answer. An answer that is refused or breaks off has its error in the result."""
    answer = Answer()
    began = last = time.perf_counter()
    try:
        async with session.post(f"{server.url}/v1/chat/completions", json=request) as response:
            if response.status != 200:
                answer.error = f"{response.status} {(await response.text())[:200]}"
                return answer
            async for line in response.content:
                if not line.startswith(b"data:") or b"[DONE]" in line:
                    continue
                chunk = json.loads(line[5:])
                text = "".join(choice.get("delta", {}).get("content") or "" for choice in chunk.get("choices") or ())
                if text:
                    last = time.perf_counter()
                    answer.first_s = answer.first_s or last - began
                    answer.text.append(text)
                if usage := chunk.get("usage"):
                    answer.tokens = int(usage.get("completion_tokens") or usage.get("output_tokens") or answer.tokens)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        answer.error = f"{type(error).__name__}: {error}"
        return answer
    answer.whole_s = time.perf_counter() - began
    answer.tokens = answer.tokens or len(answer.text)
    answer.between_s = (last - began - answer.first_s) / max(1, answer.tokens - 1)
    if not answer.text:
        answer.error = "an empty answer"
    return answer


async def _together(server: Server, requests: list[dict[str, Any]]) -> tuple[list[Answer], float]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session:
        began = time.perf_counter()
        answers = await asyncio.gather(*(chat(session, server, request) for request in requests))
        return list(answers), time.perf_counter() - began


def together(server: Server, requests: list[dict[str, Any]]) -> tuple[list[Answer], float]:
    """Stream all *requests* at once; return the answers, and the seconds from the first byte sent to the last end."""
    return asyncio.run(_together(server, requests))


def ask(server: Server, request: dict[str, Any]) -> Answer:
    """Stream one answer, with nobody else there."""
    return together(server, [request])[0][0]
