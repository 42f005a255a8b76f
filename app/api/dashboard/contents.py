"""What was asked of a job and what came of it, for people who want to read that. Never shown unasked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.errors import InferenceError
from app.jobs.record import JSON_TYPE

if TYPE_CHECKING:
    from app.jobs.gateway import JobGateway

__all__ = ["Content", "Passage", "answer_of", "request_of"]

_SHOWN = 64 * 1024  # characters of each text


@dataclass(frozen=True, slots=True)
class Passage:
    """Something that somebody said."""

    who: str
    text: str


@dataclass(frozen=True, slots=True)
class Content:
    """A request or an answer."""

    title: str
    passages: Sequence[Passage] = ()
    raw: str = ""
    note: str = ""
    download: bool = False


async def request_of(gateway: JobGateway, job_id: str) -> Content:
    """Return what was asked.

    Raises:
        JobNotFound: There is no such job.
    """
    past = await gateway.past(job_id, lambda past: past.get(job_id))
    said = [Passage(str(message.get("role", "")), _text_of(message.get("content"))) for message in _dicts(past.request.get("messages"))]
    said += [Passage(name, _text_of(past.request[name])) for name in ("prompt", "input", "query") if past.request.get(name)]
    return Content("What was asked", [one for one in said if one.text], _pretty(past.request))


async def answer_of(gateway: JobGateway, job_id: str) -> Content:
    """Return what came of it, or why there is nothing.

    Raises:
        JobNotFound: There is no such job.
    """
    title = "What came of it"
    try:
        output = await gateway.output(job_id)
    except InferenceError as error:
        return Content(title, note=error.message)
    if output.media_type.partition(";")[0] == JSON_TYPE:
        body = json.loads(output.content)
        return Content(title, _answers(body), _pretty(body), download=True)
    if output.media_type.startswith("text/"):
        return Content(title, [Passage("text", _cut(output.content.decode(errors="replace")))], download=True)
    return Content(title, note=f"{len(output.content):,} bytes of {output.media_type}.", download=True)


def _answers(body: Any) -> list[Passage]:  # noqa: ANN401 - any JSON
    found = []
    for choice in _dicts(body.get("choices") if isinstance(body, dict) else None):
        message = choice.get("message")
        message = message if isinstance(message, dict) else {"content": choice.get("text")}
        thought, calls = _text_of(message.get("reasoning_content")), message.get("tool_calls")
        said = [Passage("thought", thought), Passage("assistant", _text_of(message.get("content")))]
        said += [Passage("calls", _pretty(calls))] if calls else []
        found += [one for one in said if one.text]
    if not found and isinstance(body, dict):
        texts = [body.get("corrected") or body.get("text")]
        found = [Passage("text", _cut(text)) for text in texts if isinstance(text, str) and text]
    return found


def _text_of(content: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(content, str):
        return _cut(content)
    parts = [part if isinstance(part, str) else _part(part) for part in content] if isinstance(content, list) else []
    return _cut("\n".join(parts))


def _part(part: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(part, dict):
        return str(part["text"]) if "text" in part else f"[{part.get('type', 'part')}]"
    return str(part)


def _dicts(found: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401 - any JSON
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _pretty(body: Any) -> str:  # noqa: ANN401 - any JSON
    return _cut(json.dumps(body, ensure_ascii=False, indent=2))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}\n… and {len(text) - _SHOWN:,} characters more"
