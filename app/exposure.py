"""What a machine may be reached by: loopback or not, and the settings that say which names, pages and rates are let in. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["Rate", "check_api_url", "check_host", "check_origin", "check_rate", "is_loopback", "is_named", "parse_rate"]

_HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_RATE = re.compile(r"(?P<most>[1-9]\d{0,8})/(?P<unit>second|minute|hour|day)", re.ASCII)
_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}


class Rate(NamedTuple):
    """How many requests may come in how long."""

    most: int
    window_s: float


def is_loopback(host: str) -> bool:
    """Return whether *host* can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_host(name: str) -> str:
    """Return *name* as hosts are compared: lower case, without the dot of the root.

    Raises:
        ValueError: It is neither a host name nor ``*.name``, for all below one.
    """
    plain = name.strip().lower().rstrip(".")
    if not _HOST.fullmatch(plain):
        msg = "must be host names without a port, with commas between, such as mac-mini.lan or *.example.net"
        raise ValueError(msg)
    return plain


def is_named(host: str, names: tuple[str, ...]) -> bool:
    """Return whether *host* is one of *names*, or below a ``*.name`` of them."""
    return any(name == host or (name.startswith("*.") and host.endswith(name[1:])) for name in names)


def check_origin(origin: str) -> str:
    """Return *origin* as browsers send it.

    Raises:
        ValueError: It is none. There is no word for all: a page that anybody may write would spend this machine's models.
    """
    plain = origin.strip().lower().rstrip("/")
    try:
        parts = urlsplit(plain)
        whole = bool(parts.scheme and parts.hostname) and plain == f"{parts.scheme}://{parts.netloc}" and "@" not in plain
    except ValueError:  # an unclosed bracket
        whole = False
    if not whole or "*" in plain:
        msg = "must be origins of web pages with commas between, such as https://chat.example.net or http://192.168.1.5:3000"
        raise ValueError(msg)
    return plain


def check_api_url(url: str) -> str:
    """Return the address of an API as its routes are put behind it.

    Raises:
        ValueError: It is none. A key has a setting of its own, so that it is never shown with an address.
    """
    plain = url.strip().rstrip("/").removesuffix("/v1")
    try:
        parts = urlsplit(plain)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and not (parts.query or parts.fragment or "@" in parts.netloc)
        _ = parts.port
    except ValueError:  # an unclosed bracket, or a port that is no number
        whole = False
    if not whole:
        msg = "must be the address of an API, such as http://192.168.1.5:8787 or https://mini.example.net"
        raise ValueError(msg)
    return plain


def check_rate(text: str) -> str:
    """Return *text* if it is a rate.

    Raises:
        ValueError: It is none.
    """
    if not _RATE.fullmatch(text.strip()):
        msg = "must be requests for a time, such as 60/minute (second, minute, hour or day)"
        raise ValueError(msg)
    return text.strip()


def parse_rate(text: str) -> Rate:
    """Return the rate that a checked *text* says."""
    most, unit = check_rate(text).split("/")
    return Rate(int(most), _SECONDS[unit])
