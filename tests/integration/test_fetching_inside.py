"""A stranger's address never makes this machine ask itself or its neighbours: nothing is even connected to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.addresses.judging import may_connect_to
from app.errors import PictureNotFetched
from app.pictures.fetching import fetch
from tests.fetched import LONG_S, MOST_BYTES, names, picture, refusal
from tests.picture_server import Answer, PictureServer, gives, leads_to

_LOOPBACK = "127.0.0.1 127.0.0.2 127.1 127.0.0.1. 2130706433 0177.0.0.1 017700000001 0x7f.0.0.1 0x7f000001 localhost LOCALHOST. [::1]"
_MAPPED = "[::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:169.254.169.254] [64:ff9b::7f00:1] １２７.０.０.１"  # noqa: RUF001 - digits that browsers take
_INSIDE = "0.0.0.0 0 [::] 10.0.0.1 192.168.0.1 172.16.0.1 100.64.0.1 169.254.169.254 [fd00:ec2::254]"
_NO_WEB = "file:///etc/hostname FILE:///etc/hostname file://127.0.0.1/etc/hostname /etc/hostname //127.0.0.1/a http: http:///a https://"
_OTHER_SCHEMES = "ftp://127.0.0.1/a gopher://127.0.0.1/a data:,a javascript:a unix:///a"
_NO_HOST = "http://[::1 http://[a]/ http://%31/ http://127.0.0.1%2f/ http://.. http://xn--a/ http://\udcff/ http://127.0.0.1:a/"
_WITH_SPACES = ["", "http://a b/", "http://a\0/", "http://a\n/"]


@pytest.mark.parametrize("host", f"{_LOOPBACK} {_MAPPED} {_INSIDE}".split())
def test_what_is_not_public_is_not_connected_to(tmp_path: Path, host: str) -> None:
    with PictureServer({"/": gives(picture())}) as server:
        message = refusal(server.url(host=host), tmp_path / "a", private=False)
        assert "is not public" in message or "is not known" in message or "not a valid URL" in message
        assert server.connections == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "224.0.0.1"])  # noqa: S104
def test_link_local_and_what_means_any_address_is_never_connected_to(tmp_path: Path, host: str) -> None:
    with PictureServer({"/": gives(picture())}) as server:
        assert "is not public" in refusal(server.url(host=host), tmp_path / "a")
        assert server.connections == 0


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["2606:4700::1111", "::ffff:127.0.0.1"], ["10.1.2.3", "8.8.8.8"]]
)
def test_a_name_with_any_private_address_is_not_connected_to(tmp_path: Path, addresses: list[str]) -> None:
    with PictureServer({"/": gives(picture())}) as server:
        message = refusal(server.url(host="pictures.example"), tmp_path / "a", private=False, resolve=names(pictures_example=addresses))
        assert "'pictures.example' of the picture's address is not public" in message
        assert not any(address in message for address in addresses)
        assert "MLX_LOCAL_PRIVATE_PICTURES" in message
        assert server.connections == 0


@pytest.mark.parametrize("url", [*f"{_NO_WEB} {_OTHER_SCHEMES} {_NO_HOST}".split(), *_WITH_SPACES, "http://" + "a" * 70_000])
def test_what_is_no_web_address_is_refused(tmp_path: Path, url: str) -> None:
    async def nobody(host: str, port: int) -> Sequence[str]:
        raise OSError(-2, "Name or service not known")

    assert refusal(url, tmp_path / "a", resolve=nobody)


@pytest.mark.parametrize("port", ["0", "65536", "99999999", "-1", "9" * 400])
def test_a_port_that_cannot_be_is_refused(tmp_path: Path, port: str) -> None:
    assert refusal(f"http://127.0.0.1:{port}/", tmp_path / "a")


@pytest.mark.parametrize("login", ["user:pass@", "user@", ":@", "127.0.0.1@", "user%3Apass@", "a:b@c:d@"])
def test_an_address_with_a_login_is_not_connected_to(tmp_path: Path, login: str) -> None:
    with PictureServer({"/": gives(picture())}) as server:
        message = refusal(f"http://{login}127.0.0.1:{server.port}/", tmp_path / "a")
        assert "user name" in message or "not a valid URL" in message
        assert server.connections == 0


@pytest.mark.parametrize(
    "host",
    ["127.0.0.2", "127.0.0.1.", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "10.0.0.1", "169.254.169.254", "inside.example"],  # noqa: S104
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_public_server_cannot_lead_inside(tmp_path: Path, host: str, status: int) -> None:
    def one_is_public(address: str, *, private: bool) -> bool:
        """Have 127.0.0.1 stand for a public address, and judge all others, whose packets would also end here, as they are."""
        return address == "127.0.0.1" or may_connect_to(address, private=private)

    async def resolve(host: str, port: int) -> Sequence[str]:
        known = {"outside.example": ["127.0.0.1"], "inside.example": ["127.0.0.1", "127.0.0.2"], "127.0.0.1.": ["127.0.0.3"]}
        return known.get(host) or [host]

    answers: dict[str, Answer] = {"/secret": gives(picture())}
    with PictureServer(answers) as server:
        answers["/"] = leads_to(server.url("/secret", host=host), status)
        outside = server.url(host="outside.example")
        with pytest.raises(PictureNotFetched, match="is not public"):
            asyncio.run(
                fetch(outside, tmp_path / "a", max_bytes=MOST_BYTES, timeout_s=LONG_S, private=False, resolve=resolve, judge=one_is_public)
            )
        assert server.paths == ["/"]
        assert server.connections == 1


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/hostname",
        "ftp://127.0.0.1/",
        "http://user:pass@127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "data:,a",
        "http://[",
    ],
)
def test_each_place_that_an_address_leads_to_is_judged_anew(tmp_path: Path, location: str) -> None:
    with PictureServer({"/": leads_to(location)}) as server:
        refusal(server.url(), tmp_path / "a")
        assert server.connections == 1
