"""Pictures are fetched over real sockets, within limits of bytes and time, whatever the server does."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
import trustme

from app.errors import PictureTooLarge, UnreadablePicture
from app.pictures.fetching import fetch
from app.pictures.reading import Limits, check_picture
from tests.fetched import LONG_S, MOST_BYTES, get, names, picture, refusal
from tests.picture_server import Answer, PictureServer, gives, leads_to, never_ends, says

_SHORT_S = 0.4  # for what never ends


def test_a_picture_arrives_as_it_is(tmp_path: Path) -> None:
    with PictureServer({"/a.png?size=2": gives(picture(), Content_Type="image/png", Set_Cookie="a=b")}) as server:
        assert get(server.url("/a.png?size=2"), tmp_path / "a") == len(picture())
    assert (tmp_path / "a").read_bytes() == picture()
    assert check_picture(tmp_path / "a", Limits(24, 1000)) == ("PNG", 6, 4)
    _, headers = server.asked[0]
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["accept-encoding"] == "identity"


def test_the_connection_goes_to_the_address_that_was_judged(tmp_path: Path) -> None:
    with PictureServer({"/": gives(picture())}) as server:
        # The name is unknown to the system, and the resolver forgets it once asked: a second look-up would fail.
        assert get(server.url(host="pictures.example"), tmp_path / "a", resolve=names(pictures_example=["127.0.0.1"])) == len(picture())
        assert server.asked[0][1]["host"] == f"pictures.example:{server.port}"


def test_the_next_address_is_tried_where_one_cannot_be_reached(tmp_path: Path) -> None:
    with PictureServer({"/": gives(picture())}) as server:
        resolve = names(pictures_example=["127.0.0.2", "127.0.0.1", "127.0.0.3"])
        assert get(server.url(host="pictures.example"), tmp_path / "a", resolve=resolve) == len(picture())


def test_a_server_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with PictureServer({}) as server:
        url = server.url()
    assert "cannot be reached" in refusal(url, tmp_path / "a")


def test_a_name_that_nobody_knows_is_told_as_such(tmp_path: Path) -> None:
    async def nobody(host: str, port: int) -> Sequence[str]:
        raise OSError(-2, "Name or service not known")

    assert "'pictures.example' of the picture's address is not known" in refusal("http://pictures.example/", tmp_path / "a", resolve=nobody)
    assert "is not known" in refusal(f"http://{'a' * 64}.example/", tmp_path / "a")


def test_five_redirects_are_followed_and_no_more(tmp_path: Path) -> None:
    answers: dict[str, Answer] = {f"/{n}": leads_to(f"{n + 1}") for n in range(9)}
    with PictureServer(answers | {"/5": gives(picture())}) as server:
        assert get(server.url("/0"), tmp_path / "a") == len(picture())
        assert server.paths == ["/0", "/1", "/2", "/3", "/4", "/5"]
    with PictureServer(answers) as server:
        assert "more than 5 times" in refusal(server.url("/0"), tmp_path / "b")
        assert server.paths == ["/0", "/1", "/2", "/3", "/4", "/5"]


def test_cookies_are_not_carried_on(tmp_path: Path) -> None:
    with PictureServer({"/": says(302, Location="/next", Set_Cookie="a=b"), "/next": gives(picture())}) as server:
        get(server.url(), tmp_path / "a")
    assert all("cookie" not in headers for _, headers in server.asked)


def test_a_stream_without_end_is_left_at_the_limit(tmp_path: Path) -> None:
    with PictureServer({"/": never_ends(b"\x89PNG" * 1000, slowly=False)}) as server:
        with pytest.raises(PictureTooLarge, match=f"more than the {MOST_BYTES} bytes"):
            get(server.url(), tmp_path / "a")
        assert server.hung_up.wait(LONG_S)
    assert not (tmp_path / "a").exists()


def test_a_chunked_stream_without_end_is_left_at_the_limit(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with PictureServer({"/": never_ends(b"3e8\r\n" + b"a" * 1000 + b"\r\n", slowly=False, head=head)}) as server:
        with pytest.raises(PictureTooLarge):
            get(server.url(), tmp_path / "a")
        assert server.hung_up.wait(LONG_S)
    assert not (tmp_path / "a").exists()


def test_the_limit_is_the_last_that_passes(tmp_path: Path) -> None:
    with PictureServer({"/fits": gives(b"a" * MOST_BYTES), "/over": gives(b"a" * (MOST_BYTES + 1))}) as server:
        assert get(server.url("/fits"), tmp_path / "a") == MOST_BYTES
        with pytest.raises(PictureTooLarge):
            get(server.url("/over"), tmp_path / "b")


def test_a_length_over_the_limit_is_believed_at_once(tmp_path: Path) -> None:
    with (
        PictureServer({"/": never_ends(b"", slowly=True, head=b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")}) as server,
        pytest.raises(PictureTooLarge),
    ):
        get(server.url(), tmp_path / "a")


def test_a_body_longer_than_it_claims_ends_where_it_claims(tmp_path: Path) -> None:
    with PictureServer({"/": gives(picture() + b"a" * 200_000, Content_Length=str(len(picture())))}) as server:
        assert get(server.url(), tmp_path / "a") == len(picture())
    assert (tmp_path / "a").read_bytes() == picture()


def test_a_body_shorter_than_it_claims_is_refused(tmp_path: Path) -> None:
    with PictureServer({"/": gives(picture(), Content_Length="5000")}) as server:
        assert "could not be fetched" in refusal(server.url(), tmp_path / "a")


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"]
)
@pytest.mark.parametrize("piece", [b"a", b""])
def test_a_server_that_drips_or_is_silent_is_left_in_time(tmp_path: Path, head: bytes, piece: bytes) -> None:
    with PictureServer({"/": never_ends(piece, slowly=True, head=head)}) as server:
        assert "did not arrive within 0.4 s" in refusal(server.url(), tmp_path / "a", timeout_s=_SHORT_S)


def test_redirects_and_names_count_towards_the_time(tmp_path: Path) -> None:
    async def endless(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    assert "did not arrive" in refusal("http://pictures.example/", tmp_path / "a", timeout_s=_SHORT_S, resolve=endless)
    with PictureServer({"/": leads_to("/slow"), "/slow": never_ends(b"a", slowly=True)}) as server:
        assert "did not arrive" in refusal(server.url(), tmp_path / "a", timeout_s=_SHORT_S)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_headers_without_end_are_left(tmp_path: Path, answer: bytes) -> None:
    with PictureServer({"/": never_ends(answer if b"100" in answer else b"a" * 1000, slowly=False, head=answer)}) as server:
        assert refusal(server.url(), tmp_path / "a", timeout_s=2.0)
        assert server.hung_up.wait(LONG_S)


def test_nothing_is_unpacked(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < MOST_BYTES
    with PictureServer({"/": gives(bomb, Content_Encoding="gzip")}) as server:
        assert "compressed" in refusal(server.url(), tmp_path / "a")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says(404), "status 404"),
        (says(500, picture()), "status 500"),
        (says(401, picture()), "status 401"),
        (says(304), "status 304"),
        (says(302), "status 302"),
        (says(206, picture()), "status 206"),
        (gives(b"<html></html>", Content_Type="text/html; charset=utf-8"), "a web page"),
        (never_ends(b"", slowly=True, head=b"nonsense\r\n\r\n"), "does not speak HTTP"),
    ],
)
def test_what_is_no_answer_with_a_file_is_refused_with_its_reason(tmp_path: Path, answer: Answer, reason: str) -> None:
    with PictureServer({"/": answer}) as server:
        assert reason in refusal(server.url(), tmp_path / "a")


@pytest.mark.parametrize("content", [b"", b'{"no": "picture"}', b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a"])
def test_content_that_is_no_picture_is_found_by_reading_it(tmp_path: Path, content: bytes) -> None:
    with PictureServer({"/": gives(content, Content_Type="image/png")}) as server:
        get(server.url(), tmp_path / "a")
    with pytest.raises(UnreadablePicture):
        check_picture(tmp_path / "a", Limits(100, MOST_BYTES))


def test_a_proxy_of_the_environment_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with PictureServer({"/": gives(picture())}) as server, PictureServer({}) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert get(server.url(), tmp_path / "a") == len(picture())
        assert proxy.connections == 0


def test_a_caller_that_gives_up_leaves_nothing_behind(tmp_path: Path) -> None:
    async def give_up(url: str) -> None:
        task = asyncio.create_task(fetch(url, tmp_path / "a", max_bytes=10**9, timeout_s=LONG_S, private=True))
        while not (tmp_path / "a").exists():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with PictureServer({"/": never_ends(b"a", slowly=True)}) as server:
        asyncio.run(give_up(server.url()))
        assert server.hung_up.wait(LONG_S)
    assert not (tmp_path / "a").exists()


def test_https_shows_the_name_and_checks_the_certificate_against_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    shown: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pictures.example").configure_cert(tls)
    tls.sni_callback = lambda _socket, name, _context: shown.append(name)
    with PictureServer({"/": gives(picture())}, tls) as server:
        here = {"pictures_example": ["127.0.0.1"], "other_example": ["127.0.0.1"]}
        known, other = (server.url(host=host, scheme="https") for host in ("pictures.example", "other.example"))
        assert "its server has a certificate that is not believed" in refusal(
            known, tmp_path / "a", resolve=names(**here)
        )  # nobody vouches for it
        authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        assert "its server has a certificate that is not believed" in refusal(other, tmp_path / "a", resolve=names(**here))
        assert server.asked == []
        assert get(known, tmp_path / "a", resolve=names(**here)) == len(picture())
        assert server.asked[0][1]["host"] == f"pictures.example:{server.port}"
    assert shown == ["pictures.example", "other.example", "pictures.example"]
