"""Fetch a picture or a video from an http or https address that a stranger chose.

Promises: nothing is connected to before all addresses of the name have been
judged, and the connection goes to one that was, not to what the name may mean
a moment later; each redirect is judged anew; the time of all of it and the
bytes that arrive are bounded; whatever is compressed is not unpacked; nothing
is left at the target when fetching fails.

Uses no proxy, password or cookie of this machine. Whether a picture came is
for :mod:`app.pictures.reading` to find out; only web pages are told apart here,
because that is what people paste by mistake.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from app.pictures.addresses import may_fetch_from
from app.pictures.media import PICTURE, Medium

if TYPE_CHECKING:
    from httpx import URL, Response

    from app.errors import InferenceError

__all__ = ["Judge", "Resolve", "fetch", "look_up"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host name and port to addresses, as numbers. Raises OSError where there are none."""


class Judge(Protocol):
    """As :func:`app.pictures.addresses.may_fetch_from`."""

    def __call__(self, address: str, *, private: bool) -> bool:
        """Return whether *address* may be asked."""
        ...


class _Rules(NamedTuple):
    """Where a fetch may go, at each of its steps."""

    private: bool
    resolve: Resolve
    judge: Judge
    medium: Medium


_MOST_REDIRECTS = 5
_HIGHEST_PORT = 65_535
_CONNECT_S = 5.0  # for each address, so that the next one has a chance
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_HEADERS = {"User-Agent": "mlx-local-inference", "Accept": "image/*, video/*, */*;q=0.5", "Accept-Encoding": "identity"}


async def look_up(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of *host*.

    Raises:
        OSError: It has none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def fetch(
    url: str,
    target: Path,
    *,
    max_bytes: int,
    timeout_s: float,
    private: bool,
    medium: Medium = PICTURE,
    resolve: Resolve = look_up,
    judge: Judge = may_fetch_from,
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
    with _nothing_left(target), _told(timeout_s, medium):
        async with asyncio.timeout(timeout_s):
            return await _follow(url, target, max_bytes, _Rules(private, resolve, judge, medium))


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
    except HTTPError as error:
        msg = f"The {medium.word} could not be fetched: {_reason(error)}."
        raise medium.not_fetched(msg) from error


def _reason(error: Exception) -> str:
    """Return what happened, without what a library would tell of addresses."""
    from httpx import ConnectError, ConnectTimeout, ProtocolError

    if isinstance(error, ConnectError | ConnectTimeout):
        return "its server cannot be reached"
    return "its server does not speak HTTP properly" if isinstance(error, ProtocolError) else "the connection broke"


async def _follow(address: str, target: Path, max_bytes: int, rules: _Rules) -> int:
    from httpx import URL

    url = URL(address)
    for _ in range(_MOST_REDIRECTS + 1):
        _check(url, rules.medium)
        arrived = await _ask(url, await _addresses(url, rules), target, max_bytes, rules.medium)
        if isinstance(arrived, int):
            return arrived
        url = url.join(arrived)
    msg = f"The {rules.medium.word}'s address leads on more than {_MOST_REDIRECTS} times."
    raise rules.medium.not_fetched(msg)


def _check(url: URL, medium: Medium) -> None:
    if url.scheme not in ("http", "https") or not url.raw_host:
        msg = f"A {medium.word} is fetched from http:// and https:// addresses only; send anything else as a data URI."
        raise medium.not_fetched(msg)
    if url.port is not None and not 1 <= url.port <= _HIGHEST_PORT:
        msg = f"The {medium.word}'s address has a port that cannot be: from 1 to {_HIGHEST_PORT} there are."
        raise medium.not_fetched(msg)
    if url.userinfo:
        msg = f"The {medium.word}'s address has a user name or password in it; such addresses are not fetched from."
        raise medium.not_fetched(msg)


async def _addresses(url: URL, rules: _Rules) -> Sequence[str]:
    """Return the addresses behind the name, if every one of them is allowed."""
    host = url.raw_host.decode("ascii")  # url.host would decode an international name, and raise where it is none
    try:
        addresses = await rules.resolve(host, _port(url))
    except (OSError, UnicodeError):  # UnicodeError: a label is longer than DNS knows
        addresses = ()
    if not addresses:
        msg = f"The host {host[:200]!r} of the {rules.medium.word}'s address is not known."
        raise rules.medium.not_fetched(msg)
    if not all(rules.judge(address, private=rules.private) for address in addresses):
        advice = "." if rules.private else "; MLX_LOCAL_PRIVATE_PICTURES=true allows loopback and private networks."
        msg = f"The host {host[:200]!r} of the {rules.medium.word}'s address is not public{advice}"
        raise rules.medium.not_fetched(msg)
    return list(dict.fromkeys(addresses))


def _port(url: URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


async def _ask(url: URL, addresses: Sequence[str], target: Path, max_bytes: int, medium: Medium) -> int | str:
    """Ask the first of *addresses* that can be connected to; return the bytes it gave, or where it leads on."""
    from httpx import AsyncClient, ConnectError, ConnectTimeout, Timeout, create_ssl_context

    # SSL_CERT_FILE is heeded; proxies and .netrc, which trust_env would bring, are not. Reading certificates takes 50 ms.
    verify = await asyncio.to_thread(create_ssl_context) if url.scheme == "https" else False
    name = url.raw_host.decode("ascii").rstrip(".")
    async with AsyncClient(verify=verify, trust_env=False, timeout=Timeout(None, connect=_CONNECT_S)) as client:
        for address in addresses:
            request = client.build_request(
                "GET",
                url.copy_with(host=address),
                headers=_HEADERS | {"Host": url.netloc.decode("ascii")},
                extensions={"sni_hostname": name},
            )
            try:
                response = await client.send(request, stream=True)
            except (ConnectError, ConnectTimeout):
                if address == addresses[-1]:
                    raise
                continue
            try:
                return await _take(response, target, max_bytes, medium)
            finally:
                await response.aclose()
    raise AssertionError  # there is at least one address


async def _take(response: Response, target: Path, max_bytes: int, medium: Medium) -> int | str:
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
