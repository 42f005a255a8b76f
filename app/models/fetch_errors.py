"""From what huggingface_hub and httpx2 raise to a sentence for the user, and whether another attempt may go better. Pure."""

from __future__ import annotations

import errno
import os
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

from app.errors import DownloadFailed
from app.models.download_errors import DiskFull, DownloadBroken, HubUnreachable, RepoGated, RepoNotFound

__all__ = ["explained"]

_REFUSED = {401, 403}
_PASSING = {408, 429, 500, 502, 503, 504}
_MOST_CHARACTERS = 200


def explained(error: Exception, repo: str, folder: str) -> tuple[DownloadFailed, bool]:
    """Return what to tell about *error*, and whether another attempt may go better.

    Args:
        error: Raised while *repo* was listed or fetched.
        repo: The repository.
        folder: Where its files go.
    """
    if isinstance(error, DownloadFailed):
        return error, False
    if isinstance(error, HfHubHTTPError):
        return _of_answer(error, repo)
    if isinstance(error, HFValidationError):
        return RepoNotFound(repo, constants.ENDPOINT), False
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError | httpx2.UnsupportedProtocol):
        return HubUnreachable(repo, constants.ENDPOINT, _words(error)), False
    if isinstance(error, LocalEntryNotFoundError):  # the library's way to say that a file's address could not be asked
        return DownloadBroken(repo, _words(error.__cause__ or error)), True
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(repo, folder), False
    if isinstance(error, httpx2.HTTPError | OSError):
        return DownloadBroken(repo, _words(error)), True
    return DownloadFailed(f"{repo!r} could not be downloaded: {_words(error)}"), False


def _of_answer(error: HfHubHTTPError, repo: str) -> tuple[DownloadFailed, bool]:
    status = error.response.status_code
    if isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError):
        return RepoNotFound(repo, constants.ENDPOINT), False
    host = str(error.response.url.host)
    if host != urlsplit(constants.ENDPOINT).hostname:
        # The address of a large file is signed for a while. A transfer taken up later is refused, and needs a new address.
        return DownloadBroken(repo, f"{host} answered {status}"), True
    if status in _REFUSED:
        # To whoever has no token the hub answers so about what it does not have, too.
        unknown = "/api/models/" in str(error.response.url) and "authorization" not in error.response.request.headers
        return RepoNotFound(repo, constants.ENDPOINT) if unknown else RepoGated(repo, constants.ENDPOINT, status), False
    return DownloadBroken(repo, f"{constants.ENDPOINT} answered {status}"), status in _PASSING


def _words(error: BaseException) -> str:
    number = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else ""
    return " ".join(str(error).split())[:_MOST_CHARACTERS] or number or type(error).__name__
