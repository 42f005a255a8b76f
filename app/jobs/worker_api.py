"""The routes below ``/v1/worker``, as a worker of another machine asks them.

Each call is one attempt: whoever calls knows whether to try again.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from app.errors import BlobNotHere, SpoolUnavailable
from app.jobs.blobs import ApiFacts

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["WorkerApi"]

_PIECE_BYTES = 1024**2
# Reading has the longest: once an upload is whole, the API hashes it and brings it to its disk before it answers.
_TIMEOUT = httpx.Timeout(30.0, connect=5.0, read=60.0, pool=None)
_REFUSES = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_LASTING = {*_REFUSES, HTTPStatus.NOT_FOUND}
_NEEDS_KEY = (
    "needs a key of the scope worker, and MLX_LOCAL_WORKER_KEY (or --key-file) has none that it knows: make one there with"
    " `mlx-local keys create NAME --scope worker`."
)


class WorkerApi:
    """One API, asked with the key of one worker. Thread-safe.

    Every method raises:
        SpoolUnavailable: It does not answer, or refuses.
        BlobNotHere: It does not have what was asked for.
        CancelledError: *withdrawn*, where there is one, returned True.

    Args:
        settings: Say where it is, and the key.
    """

    def __init__(self, settings: Settings) -> None:
        key = settings.worker_key
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key.get_secret_value()}"} if key else {})
        # SSL_CERT_FILE is heeded; proxies and .netrc, which trust_env would bring, are not.
        self._client = httpx.Client(
            base_url=str(settings.api_url), headers=headers, timeout=_TIMEOUT, verify=httpx.create_ssl_context(), trust_env=False
        )

    def close(self) -> None:
        """Let go of its connections."""
        self._client.close()

    def look(self) -> ApiFacts:
        """Return what it says of itself, which takes an API that answers and a key that it accepts."""
        with _transport():
            answer = self._client.get("/v1/worker")
            _check(answer)
        try:
            return ApiFacts.model_validate_json(answer.content)
        except ValueError:
            reason = "what answers there is something else."
            raise SpoolUnavailable(reason, lasting=True) from None

    def fetch(self, blob: str, part: Path, withdrawn: Callable[[], bool]) -> None:
        """Write what is missing of a blob behind what *part* has of it. Nothing is checked: it may be damaged, or not whole."""
        has_bytes = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={has_bytes}-"} if has_bytes else {}
        with _transport(), self._client.stream("GET", f"/v1/worker/blobs/{blob}", headers=headers) as answer:
            if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is missing
            _check(answer, blob)
            with part.open("ab" if answer.status_code == HTTPStatus.PARTIAL_CONTENT else "wb") as file:
                for piece in answer.iter_raw():
                    if withdrawn():
                        raise CancelledError
                    file.write(piece)

    def hold(self, blob: str, holder: str) -> None:
        """Have a blob that is there kept for *holder* too."""
        with _transport():
            _check(self._client.put(f"/v1/worker/blobs/{blob}/holders/{holder}"), blob)

    def send(self, blob: str, file: Path, holder: str, withdrawn: Callable[[], bool]) -> None:
        """Have the blob that *file* has kept for *holder*."""

        def pieces() -> Iterator[bytes]:
            with file.open("rb") as opened:
                while piece := opened.read(_PIECE_BYTES):
                    if withdrawn():
                        raise CancelledError
                    yield piece

        headers = {"Content-Length": str(file.stat().st_size), "Content-Type": "application/octet-stream"}
        with _transport():
            _check(self._client.put(f"/v1/worker/blobs/{blob}", params={"holder": holder}, content=pieces(), headers=headers), blob)


@contextmanager
def _transport() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        root = _root(error)
        if isinstance(root, ssl.SSLCertVerificationError):
            reason = f"its certificate is not trusted ({root.verify_message}); SSL_CERT_FILE names a file of authorities that are."
            raise SpoolUnavailable(reason, lasting=True) from error
        if isinstance(root, ssl.SSLError) and root.reason == "WRONG_VERSION_NUMBER":
            reason = "it speaks no TLS at that port: http:// is for that."
            raise SpoolUnavailable(reason, lasting=True) from error
        reason = f"it does not answer ({type(error).__name__}: {error})."
        raise SpoolUnavailable(reason) from error


def _root(error: BaseException) -> BaseException:
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return error


def _check(answer: httpx.Response, blob: str = "") -> None:
    """Let a success pass."""
    if answer.is_success:
        return
    answer.read()
    try:
        problem = answer.json()
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):  # of a proxy, or of another program
        code, detail = "", f"it answers {answer.status_code}."
    if code == "blob_not_found":
        raise BlobNotHere(blob)
    if code == "invalid_api_key":
        detail = f"it {_NEEDS_KEY}"
    raise SpoolUnavailable(detail, lasting=answer.status_code in _LASTING, refuses=answer.status_code in _REFUSES)
