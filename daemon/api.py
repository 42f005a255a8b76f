"""The daemon's way to the API: a few calls over HTTP, and what went wrong as one of three things.

``Away``: trouble that passes (nothing listens, the queue is full, the key is
refused); the recording is as good as before. ``Refused``: this request will
not be taken, whenever it is sent. ``Gone``: the job is not there any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import httpx

from app.internal_key import authorization
from daemon.signature import Changed, Signature, Verified, signature_of

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["Api", "Away", "Gone", "Refused"]

_CONNECT_S = 5.0
_ANSWER_S = 30.0
_STALLED_UPLOAD_S = 120.0
_KEPT_BY_SERVER_S = 900.0  # for an upload to be put away once all of it was sent
_PASSING = frozenset({401, 403, 405, 408, 425, 429})
_EVERY_UPLOAD = "recording"  # one name for all: a file that was renamed is still the same request


class Away(Exception):
    """The API cannot be used now. The text is a sentence for the user."""

    def __init__(self, message: str, *, defect: bool = False) -> None:
        super().__init__(message)
        self.defect = defect  # it failed on this very request, which may be the request's fault


class Refused(Exception):
    """The API does not take the request."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Gone(Exception):
    """There is no such job."""


class Api:
    """The API of this home. For several threads."""

    def __init__(self, settings: Settings, stopping: Event) -> None:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
        self._base = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
        timeout = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)
        # trust_env: a proxy of the environment cannot reach our own port.
        self._client = httpx.Client(base_url=self._base, timeout=timeout, trust_env=False)
        self._settings = settings
        self._stopping = stopping
        self._largest_bytes = int(settings.max_upload)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def submit(self, path: Path, signature: Signature, sha256: str, identity: str, request: Mapping[str, Any]) -> str:
        """Send a recording and return the id of its job; the same *identity* is always the same job.

        Raises:
            Changed: The file is not the one of that *signature* and content; nothing was submitted.
            Away: Likewise Refused.
            OSError: The file cannot be read.
        """
        if signature.size == 0:
            raise Refused("unreadable_audio", "The file is empty.")  # noqa: EM101 - a code and a sentence, as the API answers
        if signature.size > self._largest_bytes:
            message = f"The file has {signature.size} bytes, more than the {self._largest_bytes} that are taken (MLX_LOCAL_MAX_UPLOAD)."
            raise Refused("body_too_large", message)  # noqa: EM101 - a code
        if signature_of(path) != signature:
            raise Changed
        fields = {"kind": "transcript", "request": json.dumps(request, sort_keys=True, ensure_ascii=False)}
        timeout = httpx.Timeout(_STALLED_UPLOAD_S, connect=_CONNECT_S, read=_KEPT_BY_SERVER_S)
        try:
            content = Verified(path, signature.size, sha256, self._stopping)
        except FileNotFoundError:
            raise Changed from None
        with content:
            files = {"file": (_EVERY_UPLOAD, content, "application/octet-stream")}
            answer = self._ask("POST", "/v1/jobs", data=fields, files=files, headers={"Idempotency-Key": identity}, timeout=timeout)
        return str(answer["id"])

    def job(self, job_id: str) -> Mapping[str, Any]:
        """Return a job as it stands.

        Raises:
            Gone: Likewise Away, Refused.
        """
        return self._ask("GET", f"/v1/jobs/{job_id}")

    def output(self, job_id: str) -> Mapping[str, Any]:
        """Return the output of a job that succeeded; otherwise as :meth:`job`."""
        return self._ask("GET", f"/v1/jobs/{job_id}/output")

    def cancel(self, job_id: str) -> None:
        """Cancel a job; otherwise as :meth:`job`."""
        self._ask("POST", f"/v1/jobs/{job_id}/cancel")

    def _ask(self, method: str, path: str, headers: Mapping[str, str] = MappingProxyType({}), **how: Any) -> Mapping[str, Any]:  # noqa: ANN401 - httpx's words for a form
        try:
            # The key is looked up each time: the home may get another one while this process runs.
            answer = self._client.request(method, path, headers={**headers, **authorization(self._settings)}, **how)
            body = answer.json()
        except (httpx.ConnectError, httpx.ConnectTimeout):
            message = f"The API does not answer at {self._base}."
            raise Away(message) from None
        except httpx.TransportError as error:
            message = f"The connection to the API broke ({error or type(error).__name__})."
            raise Away(message) from None
        except ValueError:  # no JSON
            message = f"What answers at {self._base} is not this software's API."
            raise Away(message) from None
        if not isinstance(body, dict):
            message = f"What answers at {self._base} is not this software's API."
            raise Away(message)
        if answer.is_error:
            raise _told(answer.status_code, body)
        return body


def _told(status: int, body: Mapping[str, Any]) -> Away | Refused | Gone:
    code, message = str(body.get("code", "")), str(body.get("detail") or f"The API answered {status}.")
    if code == "job_not_found":
        return Gone()
    if status == HTTPStatus.UNAUTHORIZED:
        return Away("The API refuses the key; it must be of this home, or MLX_LOCAL_API_KEY must be the same for both.")
    if status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR or code == "route_not_found":
        return Away(message, defect=status == HTTPStatus.INTERNAL_SERVER_ERROR)
    return Refused(code or f"status_{status}", message)
