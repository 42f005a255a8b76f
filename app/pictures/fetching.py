"""Fetch a picture or a video from an http or https address that a stranger chose.

Promises: what :mod:`app.addresses.connecting` does, for each redirect anew;
the time of all of it and the bytes that arrive are bounded; whatever is
compressed is not unpacked; nothing is left at the target when fetching fails.

Whether a picture came is for :mod:`app.pictures.reading` to find out; only web
pages are told apart here, because that is what people paste by mistake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.addresses.connecting import AGENT, Judge, Resolve, Rules, UnusableAddress, asked, look_up, why_broken
from app.addresses.judging import may_connect_to
from app.pictures.media import PICTURE, Medium

if TYPE_CHECKING:
    from httpx import Response

    from app.errors import InferenceError

__all__ = ["fetch"]

_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_HEADERS = {**AGENT, "Accept": "image/*, video/*, */*;q=0.5"}


async def fetch(
    url: str,
    target: Path,
    *,
    max_bytes: int,
    timeout_s: float,
    private: bool,
    medium: Medium = PICTURE,
    resolve: Resolve = look_up,
    judge: Judge = may_connect_to,
) -> int:
    """Write what is at *url* to *target* and return how many bytes it has.

    Args:
        url: Where; it may lead on, at most five times.
        target: Is written anew, and removed when this raises.
        max_bytes: No more is read.
        timeout_s: For all of it, names and redirects included.
        private: Whether loopback and private networks may be asked too.
        medium: What is to be there.
        resolve: How names become addresses.
        judge: Which addresses may be asked.

    Raises:
        PictureNotFetched: The address is not allowed, or did not give a file in time.
        PictureTooLarge: It gives more than *max_bytes*. Of another medium its own errors.
        OSError: *target* cannot be written.
    """
    otherwise = "; send anything else as a data URI"
    rules = Rules(medium.word, private, "MLX_LOCAL_PRIVATE_PICTURES", resolve=resolve, judge=judge, otherwise=otherwise)
    with _nothing_left(target), _told(timeout_s, medium):
        async with asyncio.timeout(timeout_s):
            return await _follow(url, target, max_bytes, rules, medium)


@contextmanager
def _nothing_left(target: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:  # also when the caller is cancelled
        target.unlink(missing_ok=True)
        raise


@contextmanager
def _told(timeout_s: float, medium: Medium) -> Iterator[None]:
    """Turn what httpx and the clock raise into sentences for the user."""
    from httpx import HTTPError, InvalidURL

    try:
        yield
    except TimeoutError:
        msg = f"The {medium.word} did not arrive within {timeout_s:g} s ({medium.timeout})."
        raise medium.not_fetched(msg) from None
    except InvalidURL:
        msg = f"The {medium.word}'s address is not a valid URL."
        raise medium.not_fetched(msg) from None
    except UnusableAddress as refused:
        raise medium.not_fetched(str(refused)) from None
    except HTTPError as error:
        msg = f"The {medium.word} could not be fetched: {why_broken(error, 'its server')}."
        raise medium.not_fetched(msg) from error


async def _follow(address: str, target: Path, max_bytes: int, rules: Rules, medium: Medium) -> int:
    from httpx import URL

    url = URL(address)
    for _ in range(_MOST_REDIRECTS + 1):
        async with asked(url, rules, headers=_HEADERS) as response:
            arrived = await _take(response, target, max_bytes, medium)
        if isinstance(arrived, int):
            return arrived
        url = url.join(arrived)
    msg = f"The {medium.word}'s address leads on more than {_MOST_REDIRECTS} times."
    raise medium.not_fetched(msg)


async def _take(response: Response, target: Path, max_bytes: int, medium: Medium) -> int | str:
    """Return how many bytes came, or where the answer leads on."""
    leads_to = response.headers.get("location")
    if response.status_code in _REDIRECTS and leads_to:
        return str(leads_to)
    _check_answer(response, medium)
    stated = response.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > max_bytes:
        raise _too_large(max_bytes, medium)
    arrived = 0
    with target.open("wb") as file:
        async for piece in response.aiter_raw():
            arrived += len(piece)
            if arrived > max_bytes:
                raise _too_large(max_bytes, medium)
            file.write(piece)
    return arrived


def _check_answer(response: Response, medium: Medium) -> None:
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code != 200:  # noqa: PLR2004 - OK; a part (206) or nothing (204) is no file
        msg = f"The server of the {medium.word}'s address answered with status {response.status_code}."
    elif media_type in _PAGES:
        msg = f"There is a web page at the {medium.word}'s address. Use the address of the {medium.word} itself."
    elif response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        msg = f"The server of the {medium.word}'s address sends it compressed, though asked not to."
    else:
        return
    raise medium.not_fetched(msg)


def _too_large(max_bytes: int, medium: Medium) -> InferenceError:
    return medium.too_large(f"The {medium.word} has more than the {max_bytes} bytes that this server takes ({medium.largest}).")
