"""Sends one event once: the body, its signature, and what the answer means.

The body names the job and what became of it: no prompt, no output. It is signed as Standard Webhooks has it
(standardwebhooks.com), which is what OpenAI's webhooks are signed with, so OpenAI's clients verify it. The
time stamp is that of the try: receivers refuse old ones.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import to_json

from app.addresses.connecting import AGENT, Rules, UnknownHost, UnusableAddress, asked, why_broken
from app.api.batches.answers import batch_id
from app.errors import Failure
from app.jobs.record import JobKind
from app.webhook_secret import key_of

if TYPE_CHECKING:
    from httpx import Response

    from app.jobs.hooks import Told

__all__ = ["Sent", "body_of", "send", "signed", "type_of"]

_READ_BYTES = 64 * 1024  # of an answer, so that the receiver is not cut off in its sentence
_READ_S = 1.0
_OF_BATCH = {"started": "in_progress", "completed": "completed", "failed": "failed", "canceled": "cancelled"}


class Sent(NamedTuple):
    """What came of a try."""

    status: int = 0  # of the answer; 0: none came
    failure: Failure | None = None  # none: the receiver has the event
    is_final: bool = False  # no further try can mend the failure
    retry_after_s: float = 0.0  # the receiver wants to be left alone for so long


def type_of(told: Told) -> str:
    """Return the event's type; of batches OpenAI's words."""
    if told.kind is not JobKind.BATCH:
        return f"job.{told.event}"
    is_late = told.event == "canceled" and told.error is not None and told.error.code == "deadline_exceeded"
    return "batch.expired" if is_late else f"batch.{_OF_BATCH[told.event]}"


def body_of(told: Told) -> bytes:
    """Return what is sent: the same at each try."""
    kind = type_of(told)
    data: dict[str, Any] = {"id": told.job, "kind": told.kind, "model": told.model, "state": told.state}
    if told.kind is JobKind.BATCH:
        data = {"id": batch_id(told.job), "kind": told.kind, "job": told.job, "status": kind.removeprefix("batch.")}
    data |= {"error": told.error, "retry_of": told.retry_of}
    return to_json({"id": told.id, "object": "event", "created_at": told.at, "type": kind, "data": data})


def signed(event_id: str, at: int, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers by which a receiver knows that the event is ours, whole, and of now.

    Args:
        event_id: Its own.
        at: Epoch s.
        body: As it is sent.
        secrets: Those that sign; any of them is enough for a receiver.
    """
    content = f"{event_id}.{at}.".encode() + body
    marks = [base64.b64encode(hmac.digest(key_of(secret), content, hashlib.sha256)).decode() for secret in secrets]
    return {"webhook-id": event_id, "webhook-timestamp": str(at), "webhook-signature": " ".join(f"v1,{mark}" for mark in marks)}


async def send(told: Told, secrets: Sequence[str], rules: Rules, longest_s: float) -> Sent:
    """Try once.

    Args:
        told: What there is to tell, and where.
        secrets: Those that sign.
        rules: Where webhooks may go; they are asked at each try.
        longest_s: How long it may take.
    """
    from httpx import URL, HTTPError, InvalidURL

    body = body_of(told)
    headers = {**AGENT, "Content-Type": "application/json", **signed(told.id, int(time.time()), body, secrets)}
    sent: Sent | None = None
    try:
        async with asyncio.timeout(longest_s), asked(URL(told.url), rules, method="POST", headers=headers, content=body) as response:
            sent = _meant(response)
            await _read(response)
    except TimeoutError:
        return sent or _failed(f"The receiver did not answer within {longest_s:g} s.")
    except UnknownHost as unknown:
        return _failed(str(unknown))
    except (UnusableAddress, InvalidURL) as refused:
        return Sent(failure=Failure(code="address_not_allowed", message=str(refused)), is_final=True)
    except HTTPError as error:
        reason = why_broken(error, "the receiver")
        return _failed(f"{reason[0].upper()}{reason[1:]}.")
    return sent


def _failed(message: str, status: int = 0) -> Sent:
    return Sent(status, Failure(code="webhook_failed", message=message))


def _meant(response: Response) -> Sent:
    status = response.status_code
    if response.is_success:
        return Sent(status)
    message = f"The receiver answered with status {status}"
    if status == HTTPStatus.GONE:
        return _failed(f"{message}: it wants no more of this.", status)._replace(is_final=True)
    if response.has_redirect_location:
        message += "; redirects are not followed"
    return _failed(f"{message}.", status)._replace(retry_after_s=_retry_after_s(response.headers.get("retry-after", "")))


def _retry_after_s(said: str) -> float:
    """Return what a ``Retry-After`` says, seconds or a date; 0 where it says nothing."""
    if said.isascii() and said.isdecimal():
        return float(said[:9])
    with contextlib.suppress(ValueError, OverflowError):
        at = parsedate_to_datetime(said)
        return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return 0.0


async def _read(response: Response) -> None:
    """Read the answer's body, as far as is polite. What it says matters to nobody, nor whether it ends."""
    from httpx import HTTPError

    arrived = 0
    with contextlib.suppress(HTTPError, TimeoutError):
        async with asyncio.timeout(_READ_S):
            async for piece in response.aiter_raw():
                arrived += len(piece)
                if arrived > _READ_BYTES:
                    return
