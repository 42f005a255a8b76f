"""Ask an http or https address that a stranger chose.

Promises: nothing is connected to before all addresses of the name have been
judged, and the connection goes to one that was, not to what the name may mean
a moment later; where an answer leads on is not followed here; whatever is
compressed is not unpacked. Time and bytes are for the caller to bound.

Uses no proxy, password or cookie of this machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from app.addresses.judging import may_connect_to

if TYPE_CHECKING:
    from httpx import URL, AsyncClient, Response

__all__ = ["AGENT", "Judge", "Resolve", "Rules", "UnknownHost", "UnusableAddress", "asked", "check", "look_up", "port_of", "why_broken"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host name and port to addresses, as numbers. Raises OSError where there are none."""

AGENT: Mapping[str, str] = {"User-Agent": "mlx-local-inference", "Accept-Encoding": "identity"}
"""The headers of every request."""

_HIGHEST_PORT = 65_535
_CONNECT_S = 5.0  # for each address, so that the next one has a chance
# A name server that is silent holds a thread for half a minute, whoever has given up meanwhile: these, and none that others work on.
_LOOKING_UP = ThreadPoolExecutor(64, thread_name_prefix="look-up")


class Judge(Protocol):
    """As :func:`app.addresses.judging.may_connect_to`."""

    def __call__(self, address: str, *, private: bool) -> bool:
        """Return whether *address* may be asked."""
        ...


class UnusableAddress(Exception):
    """An address that is not asked. Its text is a sentence, which has at most the host of the address."""


class UnknownHost(UnusableAddress):
    """Nobody knows the host, at present."""


async def look_up(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of *host*.

    Raises:
        OSError: It has none.
    """
    look = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOKING_UP, look)
    return [str(entry[4][0]) for entry in found]


class Rules(NamedTuple):
    """Where a request may go, and how its refusal is spoken of."""

    what: str  # has the address: a picture, a webhook
    private: bool  # loopback and private networks may be asked too
    setting: str  # says so
    resolve: Resolve = look_up
    judge: Judge = may_connect_to
    otherwise: str = ""  # what to do with what is no web address; begins with a semicolon


def check(url: URL, rules: Rules) -> None:
    """Refuse what can be refused without asking anybody: also a host that is itself an address, or this machine by its name.

    Raises:
        UnusableAddress: It is refused.
    """
    if url.scheme not in ("http", "https") or not url.raw_host:
        msg = f"The {rules.what}'s address must begin with http:// or https://{rules.otherwise}."
        raise UnusableAddress(msg)
    if url.port is not None and not 1 <= url.port <= _HIGHEST_PORT:
        msg = f"The {rules.what}'s address has a port that cannot be: from 1 to {_HIGHEST_PORT} there are."
        raise UnusableAddress(msg)
    if url.userinfo:
        msg = f"The {rules.what}'s address has a user name or password in it; such addresses are not asked."
        raise UnusableAddress(msg)
    host = _host(url)
    itself = "127.0.0.1" if host.rstrip(".").lower() == "localhost" else host
    try:
        ipaddress.ip_address(itself)
    except ValueError:
        return
    _judge([itself], host, rules)


def port_of(url: URL) -> int:
    """Return the port that an address means."""
    return url.port or (443 if url.scheme == "https" else 80)


def why_broken(error: Exception, who: str) -> str:
    """Return what happened, without what a library would tell of addresses.

    Args:
        error: One of httpx.
        who: Did not do its part, as the beginning of a clause.
    """
    from httpx import ConnectError, ConnectTimeout, ProtocolError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{who} has a certificate that is not believed"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, ConnectError | ConnectTimeout):
        return f"{who} cannot be reached"
    return f"{who} does not speak HTTP properly" if isinstance(error, ProtocolError) else "the connection broke"


@asynccontextmanager
async def asked(
    url: URL, rules: Rules, *, method: str = "GET", headers: Mapping[str, str] = AGENT, content: bytes | None = None
) -> AsyncIterator[Response]:
    """Ask one of the addresses behind *url* and yield the answer, of which the head alone has been read.

    Raises:
        UnusableAddress: It is refused, or its host is not known.
        HTTPError: Of httpx: nobody answers there, or not in HTTP. Likewise InvalidURL.
    """
    from httpx import AsyncClient, Timeout, create_ssl_context

    check(url, rules)
    addresses = await _addresses(url, rules)
    # SSL_CERT_FILE is heeded; proxies and .netrc, which trust_env would bring, are not. Reading certificates takes 50 ms.
    verify = await asyncio.to_thread(create_ssl_context) if url.scheme == "https" else False
    async with AsyncClient(verify=verify, trust_env=False, timeout=Timeout(None, connect=_CONNECT_S)) as client:
        response = await _first_answer(client, url, addresses, method, headers, content)
        try:
            yield response
        finally:
            await response.aclose()


async def _addresses(url: URL, rules: Rules) -> Sequence[str]:
    """Return the addresses behind the name, if every one of them is allowed."""
    host = _host(url)
    try:
        addresses = await rules.resolve(host, port_of(url))
    except (OSError, UnicodeError):  # UnicodeError: a label is longer than DNS knows
        addresses = ()
    if not addresses:
        msg = f"The host {host[:200]!r} of the {rules.what}'s address is not known."
        raise UnknownHost(msg)
    _judge(addresses, host, rules)
    return list(dict.fromkeys(addresses))


def _judge(addresses: Sequence[str], host: str, rules: Rules) -> None:
    if not all(rules.judge(address, private=rules.private) for address in addresses):
        advice = "." if rules.private else f"; {rules.setting}=true allows loopback and private networks."
        msg = f"The host {host[:200]!r} of the {rules.what}'s address is not public{advice}"
        raise UnusableAddress(msg)


def _host(url: URL) -> str:
    return url.raw_host.decode("ascii")  # url.host would decode an international name, and raise where it is none


async def _first_answer(
    client: AsyncClient, url: URL, addresses: Sequence[str], method: str, headers: Mapping[str, str], content: bytes | None
) -> Response:
    """Ask the first of *addresses* that can be connected to."""
    from httpx import ConnectError, ConnectTimeout

    for address in addresses:
        request = client.build_request(
            method,
            url.copy_with(host=address),
            headers={**headers, "Host": url.netloc.decode("ascii")},
            content=content,
            extensions={"sni_hostname": _host(url).rstrip(".")},
        )
        try:
            return await client.send(request, stream=True)
        except (ConnectError, ConnectTimeout):
            if address == addresses[-1]:
                raise
    raise AssertionError  # there is at least one address
