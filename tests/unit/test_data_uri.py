"""Data URIs give their bytes, or a reason that says what to change; never a guess."""

from __future__ import annotations

import base64
import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import PictureTooLarge, UnreadablePicture
from app.pictures.data_uri import is_data_uri, read_data_uri

_MUCH = 10**9


def uri(content: bytes, head: str = "data:image/png;base64,") -> str:
    return head + base64.b64encode(content).decode("ascii")


@given(st.binary(min_size=1, max_size=200))
def test_any_bytes_come_back(content: bytes) -> None:
    assert read_data_uri(uri(content), len(content)) == content


@given(st.binary(min_size=1, max_size=200))
def test_one_byte_over_the_limit_is_refused(content: bytes) -> None:
    with pytest.raises(PictureTooLarge, match=f"has {len(content)} bytes; this server takes at most {len(content) - 1} "):
        read_data_uri(uri(content), len(content) - 1)


@pytest.mark.parametrize(
    "head",
    [
        "data:;base64,",
        "DATA:image/png;BASE64,",
        "data:image/jpeg;charset=utf-8;base64,",
        "data:text/plain;base64,",
        "data:image/png; base64 ,",
    ],
)
def test_the_media_type_decides_nothing(head: str) -> None:
    assert read_data_uri(uri(b"\x00picture", head), _MUCH) == b"\x00picture"


def test_lines_and_percent_signs_are_undone() -> None:
    content = bytes(range(256)) * 2
    lines = "data:image/png;base64,\r\n" + base64.encodebytes(content).decode("ascii")
    escaped = "data:image/png;base64," + quote(base64.b64encode(content).decode("ascii"), safe="")
    assert read_data_uri(lines, len(content)) == content
    assert read_data_uri(escaped, len(content)) == content


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("data:image/png;base64,QUJ", "incorrect padding"),
        ("data:image/png;base64,QUJDR", "not valid base64"),
        ("data:image/png;base64,QQ==QUJD", "excess data after padding"),
        ("data:image/png;base64,QU_D-A==", "only base64 data is allowed"),
        ("data:image/png;base64,QU!D", "only base64 data is allowed"),
        ("data:image/png;base64,=QUJ", "leading padding not allowed"),
        ("data:image/png;base64,QÜJD", "beyond ASCII"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png;base64, \n", "empty"),
        ("data:image/png,QUJD", "must be base64"),
        ("data:,QUJD", "must be base64"),
        ("data:image/svg+xml;utf8,<svg/>", "must be base64"),
        ("data:image/png;base64", "no data URI"),
        ("data:" + "a" * 2000 + ";base64,QUJD", "no data URI"),
        ("data:", "no data URI"),
        ("image/png;base64,QUJD", "no data URI"),
        ("", "no data URI"),
    ],
)
def test_what_is_not_strictly_base64_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(UnreadablePicture, match=reason):
        read_data_uri(text, _MUCH)


@given(st.text(max_size=60) | st.text("data:;base64,=AQ%+/\n ", max_size=60).map("data:;base64,".__add__))
def test_any_text_has_an_answer(text: str) -> None:
    with contextlib.suppress(UnreadablePicture):
        assert read_data_uri(text, 100)


def test_a_data_uri_is_known_by_its_scheme() -> None:
    assert is_data_uri("Data:,")
    assert not is_data_uri("https://example.com/data:")
