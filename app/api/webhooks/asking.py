"""The field ``webhook`` of a body: an address, or an address and events. What can be refused of it is refused with the request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import from_json

from app.addresses.connecting import Rules, UnusableAddress, check, port_of
from app.api.validation import validated
from app.errors import InvalidRequest
from app.jobs.bodies import Body
from app.jobs.hooks import EVENTS, Event, Webhook

if TYPE_CHECKING:
    from app.api.prefer import Preference
    from app.settings import Settings

__all__ = ["AskedWebhook", "WebhookTarget", "refuse_webhook", "rules_of", "webhook_of", "webhook_of_call"]

_WHERE = "of POST /v1/jobs and POST /v1/batches, or of a call that prefers a receipt (`Prefer: respond-async`)"

Address = Annotated[
    str, StringConstraints(min_length=1, max_length=2048), Field(description="http or https.", json_schema_extra={"format": "uri"})
]


class WebhookTarget(Body):
    """Who is to be told, and of what."""

    model_config = ConfigDict(extra="forbid")

    url: Address
    events: Annotated[list[Event], Field(min_length=1, max_length=len(EVENTS))] | None = Field(
        None, description="Which events are told; all of them where nothing is said."
    )


def _of_form(value: object) -> object:
    """Return the object that a form's field says, which is text."""
    return from_json(value) if isinstance(value, str) and value.lstrip().startswith("{") else value


AskedWebhook = Annotated[
    Address | WebhookTarget,
    BeforeValidator(_of_form),
    Field(description="Who is told when the job starts, completes, fails or is cancelled. See docs/webhooks.md."),
]
"""The type of the field."""


class _WithWebhook(BaseModel):
    webhook: AskedWebhook | None = None


def rules_of(settings: Settings) -> Rules:
    """Return where webhooks may go."""
    return Rules("webhook", settings.private_webhooks, "MLX_LOCAL_PRIVATE_WEBHOOKS")


def webhook_of(asked: str | WebhookTarget | None, settings: Settings) -> Webhook | None:
    """Return whom the field means; None where it asks for nobody.

    Raises:
        InvalidRequest: Nothing may ever be sent there.
    """
    from httpx import URL, InvalidURL

    if asked is None:
        return None
    address, where = (asked, "webhook") if isinstance(asked, str) else (asked.url, "webhook.url")
    try:
        url = URL(address)
        check(url, rules_of(settings))
    except InvalidURL:
        message = f"`{where}` is not a valid URL."
        raise InvalidRequest(message, param=where) from None
    except UnusableAddress as refused:
        raise InvalidRequest(str(refused), param=where) from None
    events = EVENTS if isinstance(asked, str) or asked.events is None else tuple(dict.fromkeys(asked.events))
    host = url.raw_host.decode("ascii").lower()
    return Webhook(url=address, receiver=f"{url.scheme}://{host}:{port_of(url)}", events=events)


def webhook_of_call(sent: object, preference: Preference, settings: Settings) -> Webhook | None:
    """Return whom the body of an inference route means.

    Args:
        sent: The body as it came.
        preference: Whether its caller may get a receipt.
        settings: Say where webhooks may go.

    Raises:
        InvalidRequest: As :func:`webhook_of`; or the caller waits for the answer, which says all that there is to tell.
    """
    said = sent.get("webhook") if isinstance(sent, dict) else None
    if said is None:
        return None
    if not preference.may_end_in_receipt:
        message = f"`webhook` is a field {_WHERE}."
        raise InvalidRequest(message, param="webhook")
    return webhook_of(validated(_WithWebhook, {"webhook": said}).webhook, settings)


def refuse_webhook(body: Mapping[str, Any] | object, prefix: tuple[str, ...] = ()) -> None:
    """Refuse the field where it would be passed over.

    Args:
        body: Of something that is no job of its own, or whose job's field stands beside it.
        prefix: Where it stands in what the caller sent.

    Raises:
        InvalidRequest: It has the field.
    """
    if isinstance(body, Mapping) and body.get("webhook") is not None:
        where = ".".join((*prefix, "webhook"))
        message = f"`{where}` is not possible here: `webhook` is a field {_WHERE}."
        raise InvalidRequest(message, param=where)
