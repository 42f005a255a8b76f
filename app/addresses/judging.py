"""Which addresses of the internet may be asked on behalf of a stranger. Pure.

An address is judged by where a packet to it would end: IPv4 in the clothes of
IPv6 (mapped, NAT64) is judged as the IPv4 that it is. What is not known to be
public is not public.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

__all__ = ["may_connect_to"]

_PRIVATE = tuple(ipaddress.IPv4Network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")  # carriers' NAT, and private networks laid over the internet
_6TO4_RELAYS = ipaddress.IPv4Network("192.88.99.0/24")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all of IPv6 that is routed in public
_TUNNELS = (ipaddress.IPv6Network("2002::/16"), ipaddress.IPv6Network("2001::/32"))  # 6to4, Teredo: they end at an IPv4 somewhere
_UNIQUE_LOCAL = ipaddress.IPv6Network("fc00::/7")


def may_connect_to(address: str, *, private: bool) -> bool:
    """Return whether *address*, as numbers, is public or, with *private*, of this machine or a private network.

    Link-local addresses are refused even then: clouds keep their machines'
    credentials there, and nobody keeps anything else. So are multicast, 0.0.0.0,
    and the tunnels 6to4 and Teredo, whose other end cannot be judged.

    Raises:
        ValueError: *address* is none.
    """
    end = _end(ipaddress.ip_address(address))
    if end.is_multicast or end.is_unspecified or end.is_link_local:
        return False
    if private and (end.is_loopback or _is_private(end)):
        return True
    if isinstance(end, IPv4Address):
        return end.is_global and end not in _6TO4_RELAYS
    return end.is_global and end in _UNICAST and not any(end in tunnel for tunnel in _TUNNELS)


def _end(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_private(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        return address in _UNIQUE_LOCAL
    return address in _SHARED or any(address in network for network in _PRIVATE)
