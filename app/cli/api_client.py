"""The command line's way to the API: HTTP to our own port, and errors as sentences."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NoReturn

import httpx

from app.cli.joining import refuse_to_ask
from app.cli.programs import local_host
from app.cli.terminal import NOT_RUNNING, CommandError
from app.internal_key import authorization

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["Away", "delete", "download", "fetch", "get", "post", "send_file", "stream"]

_CONNECT_S = 5.0


class Away(CommandError):
    """Nobody answers at present: nothing listens, the connection broke, or what the server needs is away."""


def post(settings: Settings, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Send *body* and return the answer's JSON object, however long the job waits for its turn.

    Raises:
        CommandError: Nothing listens, or the API refused; its sentence is the message.
    """
    return _ask(settings, "POST", path, body)


def get(settings: Settings, path: str) -> dict[str, Any]:
    """Return the JSON object that is at *path*; otherwise as :func:`post`."""
    return _ask(settings, "GET", path)


def delete(settings: Settings, path: str) -> dict[str, Any]:
    """Have what is at *path* deleted; otherwise as :func:`post`."""
    return _ask(settings, "DELETE", path)


def send_file(settings: Settings, path: str, fields: Mapping[str, str], name: str, content: IO[bytes]) -> dict[str, Any]:
    """Send a form with *fields* and a file named *name*, read as it is sent; otherwise as :func:`post`."""
    return _ask(settings, "POST", path, data=fields, files={"file": (name, content)})


def _ask(settings: Settings, method: str, path: str, body: Mapping[str, Any] | None = None, **form: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx's words for a form
    with _talking(settings) as client:
        answer = client.request(method, path, json=body, **form)
        if answer.is_error:
            _refuse(answer)
        return dict(answer.json())


def fetch(settings: Settings, path: str, body: Mapping[str, Any]) -> Generator[bytes]:
    """Send *body* and yield the bytes that answer it, as they come; otherwise as :func:`post`."""
    with _talking(settings) as client, client.stream("POST", path, json=body) as answer:
        if answer.is_error:
            answer.read()
            _refuse(answer)
        yield from answer.iter_bytes()


def download(settings: Settings, path: str) -> Generator[bytes]:
    """Yield the bytes that are at *path*, as they come; otherwise as :func:`post`."""
    with _talking(settings) as client, client.stream("GET", path) as answer:
        if answer.is_error:
            answer.read()
            _refuse(answer)
        yield from answer.iter_bytes()


def stream(settings: Settings, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any]]:
    """Send *body* and yield the JSON objects of the server-sent events that answer it.

    Raises:
        CommandError: As :func:`post`; also when the stream breaks, or carries an error, after a beginning.
    """
    with _talking(settings) as client, client.stream("POST", path, json=body) as answer:
        if answer.is_error:
            answer.read()
            _refuse(answer)
        ended = False
        for line in answer.iter_lines():
            data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
            if data == "[DONE]":
                ended = True
            elif data:
                event = json.loads(data)
                if isinstance(event.get("error"), dict):
                    raise CommandError(str(event["error"].get("message", data)))
                yield event
        if not ended:
            msg = "The connection ended before the answer did; the text above is not complete."
            raise CommandError(msg)


@contextmanager
def _talking(settings: Settings) -> Iterator[httpx.Client]:
    refuse_to_ask(settings)
    host = local_host(settings)
    base = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    headers = authorization(settings)
    # trust_env: a proxy of the environment cannot reach our own port. Reading has no
    # time limit, because waiting for a model's turn is what a job does.
    timeout = httpx.Timeout(None, connect=_CONNECT_S)
    try:
        with httpx.Client(base_url=base, headers=headers, timeout=timeout, trust_env=False) as client:
            yield client
    except (httpx.ConnectError, httpx.ConnectTimeout):
        msg = f"The server is not running: nothing answers at {base}. Start it with `mlx-local up`."
        raise Away(msg, NOT_RUNNING) from None
    except httpx.TransportError as error:
        msg = f"The connection to {base} broke ({error or type(error).__name__}); `mlx-local status` says what runs."
        raise Away(msg) from None
    except json.JSONDecodeError:
        msg = f"What answers at {base} is not this server; MLX_LOCAL_PORT says where it should be."
        raise CommandError(msg) from None


def _refuse(answer: httpx.Response) -> NoReturn:
    """Raise the sentence of an error answer, in OpenAI's shape or RFC 9457's."""
    body: Any = None
    if "json" in answer.headers.get("content-type", ""):
        body = answer.json()
    message: Any = None
    param: Any = None
    if isinstance(body, dict):
        error = body.get("error")
        message = error.get("message") if isinstance(error, dict) else body.get("detail") or body.get("title")
        param = (error if isinstance(error, dict) else body).get("param")
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        message = f"{message or 'The API key was refused.'} This command has the key of its home, or that of MLX_LOCAL_API_KEY."
    kind = Away if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else CommandError
    raise kind(str(message or f"The server answered {answer.status_code} {answer.reason_phrase}."), param=param)
