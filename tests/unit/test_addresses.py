"""An address is public only where a packet to it would end in public, whatever it wears; and looking names up holds up nobody else."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from app.addresses.connecting import look_up
from app.addresses.judging import may_connect_to

PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "::ffff:10.1.2.3",
    "64:ff9b::a00:1",
    "fd00::1",
    "fd00:ec2::254",
]
NEVER = [
    "0.0.0.0",  # noqa: S104 - an address to refuse
    "0.1.2.3",
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "fe80::1",
    "fe80::1%lo",
    "::",
    "::127.0.0.1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "64:ff9b:1::808:808",
    "fec0::1",
    "2001:db8::1",
    "192.0.2.1",
    "198.18.0.1",
    "192.88.99.1",
    "224.0.0.1",
    "::ffff:224.0.0.1",
    "ff02::1",
    "ff0e::1",
    "240.0.0.1",
    "255.255.255.255",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_asked(address: str) -> None:
    assert may_connect_to(address, private=False)
    assert may_connect_to(address, private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_loopback_and_private_networks_may_be_asked_where_the_setting_allows_it(address: str) -> None:
    assert not may_connect_to(address, private=False)
    assert may_connect_to(address, private=True)


@pytest.mark.parametrize("address", NEVER)
def test_everything_else_is_never_asked(address: str) -> None:
    assert not may_connect_to(address, private=False)
    assert not may_connect_to(address, private=True)


def test_name_servers_that_are_silent_keep_no_thread_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_host, **_type: [] if silent.wait() else None)

    async def work_beside() -> None:
        looking = [asyncio.create_task(look_up(f"{number}.example", 80)) for number in range(40)]
        try:
            async with asyncio.timeout(10):
                await asyncio.sleep(0)  # lets all of them begin
                await asyncio.to_thread(threading.get_ident)
        finally:
            silent.set()
            await asyncio.gather(*looking)

    asyncio.run(work_beside())
