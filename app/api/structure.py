"""Refusing, before a job is made, what no answer can be held to."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from app.jobs.requests import ChatRequest
from app.jobs.response_formats import JsonSchemaFormat
from app.structure.schemas import check_schema
from app.structure.tool_syntax import ToolSpec

__all__ = ["check_structure"]


async def check_structure(request: BaseModel, prefix: tuple[str, ...]) -> None:
    """Check the schemas of a request.

    Args:
        request: Of any kind; most have no schema.
        prefix: Where it stands in what the caller sent.

    Raises:
        InvalidRequest: ``param`` goes on to the place within the schema.
    """
    if not isinstance(request, ChatRequest):
        return
    # A large schema takes a second; other requests go on.
    if isinstance(request.response_format, JsonSchemaFormat):
        param = ".".join((*prefix, "response_format.json_schema.schema"))
        await asyncio.to_thread(check_schema, request.response_format.json_schema["schema"], param=param)
    for number, tool in enumerate(request.tools or ()):
        spec = ToolSpec(tool.function.name, tool.function.parameters, strict=bool(tool.function.strict))
        param = ".".join((*prefix, f"tools.{number}.function.parameters"))
        await asyncio.to_thread(spec.check, param=param)
