"""Goes through a scenario with OpenAI's Python client and prints what it was told, step by step, as JSON.

``python python_client.py plain|asyncio BASE_URL SCENARIO``. A step of the
scenario says which method is called (``call``) with which path parameter
(``of``, where ``{step.field}`` is what an earlier step was told), which
parameters (``with``) and ``headers``, and what is taken of the answer
(``take``). What the client raises is told as well, and the scenario goes on.
It judges nothing. ``node_client.mjs`` does the same in another language.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from functools import reduce
from operator import attrgetter
from pathlib import Path
from typing import Any

import openai

Step = dict[str, Any]
Told = dict[str, Any]

PATIENCE_S = 120


def main(style: str, base_url: str, scenario: str) -> None:
    """Go through the scenario in one style of the client."""
    steps: list[Step] = json.loads(Path(scenario).read_text("utf-8"))
    json.dump(asyncio.run(told_in_asyncio(base_url, steps)) if style == "asyncio" else told_plainly(base_url, steps), sys.stdout)


def told_plainly(base_url: str, steps: list[Step]) -> Told:
    """Go through the scenario with the client that blocks."""
    told: Told = {}
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=PATIENCE_S) as client:
        for step in steps:
            try:
                answer = attrgetter(step["call"])(client)(*path(step, told), **parameters(step))
                told[step["step"]] = taken(step, answer)
            except openai.APIStatusError as error:
                told[step["step"]] = raised(error)
    return told


def taken(step: Step, answer: Any) -> Any:  # noqa: ANN401 - the method's own
    """Take what the step asks for."""
    match step.get("take"):
        case "items" | "chunks":
            return [plain(item) for item in answer]
        case "first chunk":
            with answer:
                return plain(next(iter(answer)))
    return plain(answer)


async def told_in_asyncio(base_url: str, steps: list[Step]) -> Told:
    """Go through the scenario with the client that does not block."""
    told: Told = {}
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=PATIENCE_S) as client:
        for step in steps:
            try:
                answer = attrgetter(step["call"])(client)(*path(step, told), **parameters(step))
                told[step["step"]] = await taken_in_asyncio(step, answer)
            except openai.APIStatusError as error:
                told[step["step"]] = raised(error)
    return told


async def taken_in_asyncio(step: Step, answer: Any) -> Any:  # noqa: ANN401 - the method's own
    """Take what the step asks for. Pages are iterated as they are, all else is awaited first."""
    match step.get("take"):
        case "items":
            return [plain(item) async for item in answer]
        case "chunks":
            return [plain(item) async for item in await answer]
        case "first chunk":
            async with await answer as chunks:
                return plain(await anext(aiter(chunks)))
    return plain(await answer)


def path(step: Step, told: Told) -> list[str]:
    """Return the path parameter, with what earlier steps were told put in."""

    def earlier(found: re.Match[str]) -> str:
        name, *fields = found[1].split(".")
        return str(reduce(lambda value, field: value[int(field) if isinstance(value, list) else field], fields, told[name]))

    return [re.sub(r"\{(.+?)\}", earlier, step["of"])] if "of" in step else []


def parameters(step: Step) -> dict[str, Any]:
    """Return the method's parameters. The raw methods take a body, and a type to read the answer as."""
    given = dict(step.get("with", {}))
    if step["call"] in {"get", "post"}:
        body = {"body": given} if given else {}
        return {"cast_to": str if step.get("take") == "text" else object, "options": {"headers": step.get("headers", {})}, **body}
    if "file" in given:
        given["file"] = (given["file"]["name"], given["file"]["text"].encode())
    return {**given, "extra_headers": step.get("headers", {})}


def plain(value: Any) -> Any:  # noqa: ANN401 - any answer, as JSON
    """Return an answer as JSON has it, with no field that was not sent."""
    if isinstance(value, openai.BaseModel):
        return value.to_dict(mode="json", warnings=False)
    return value.text if isinstance(value, openai.HttpxBinaryResponseContent) else value


def raised(error: openai.APIStatusError) -> Told:
    """Return what a caller can read from an exception."""
    return {"raised": type(error).__name__, "status": error.status_code, "code": error.code, "param": error.param, "body": error.body}


if __name__ == "__main__":
    main(*sys.argv[1:])
