"""What the value of a setting may be: durations, ports, keys, paths, lists with separators.

Each is a type whose validator takes what a variable, a TOML file or our own
code gives, and refuses the rest with a sentence that says what it must be. This
module knows no setting, and reads no environment and no file.
"""

from __future__ import annotations

import math
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from app.exposure import check_host, check_origin

__all__ = [
    "Duration",
    "Extensions",
    "Hosts",
    "Key",
    "Level",
    "Narrowing",
    "Origins",
    "Port",
    "UserPath",
    "UserPaths",
    "check_extensions",
    "check_key",
    "parse_duration",
]

_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?P<number>\d{1,12}(\.\d{1,6})?)(?P<unit>ms|s|m|h|d|)", re.ASCII)
_LONGEST_S = 10 * 365 * 86400


def parse_duration(value: object) -> timedelta:
    """Turn ``"90s"``, ``"30m"``, ``"2h"`` or a number of seconds into a timedelta.

    Raises:
        ValueError: It is none of these, negative, or longer than ten years.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        seconds = float(found["number"]) * _UNITS[found["unit"]]
    else:
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST_S:
        msg = "must be seconds, or a duration such as 90s, 30m, 2h or 7d"
        raise ValueError(msg)
    return timedelta(seconds=seconds)


def check_key(key: SecretStr) -> SecretStr:
    """Return *key* if a client can send it in a header.

    Raises:
        ValueError: It has other characters than printable ASCII, or spaces.
    """
    text = key.get_secret_value()
    if not text or not all("!" <= character <= "~" for character in text):
        msg = "must be printable ASCII characters without spaces"
        raise ValueError(msg)
    return key


def check_extensions(extensions: tuple[str, ...]) -> tuple[str, ...]:
    """Return *extensions* as they are compared: lower case, without a dot.

    Raises:
        ValueError: One of them is none.
    """
    plain = tuple(dict.fromkeys(extension.strip().lower().removeprefix(".") for extension in extensions))
    if not plain or not all(extension.isalnum() for extension in plain):
        msg = "must be extensions with commas between, such as wav,mp3,m4a"
        raise ValueError(msg)
    return plain


def _parted(separator: str) -> BeforeValidator:
    """Let a text, which is what a variable holds, be a list."""
    return BeforeValidator(lambda value: [part for part in value.split(separator) if part.strip()] if isinstance(value, str) else value)


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
UserPath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
Port = Annotated[int, Field(ge=1, le=65535)]
Key = Annotated[SecretStr, AfterValidator(check_key)]
Narrowing = Literal["all", "interactive"]  # which work begins in a state that asks for thrift
UserPaths = Annotated[tuple[UserPath, ...], NoDecode, _parted(os.pathsep)]
Extensions = Annotated[tuple[str, ...], NoDecode, _parted(","), AfterValidator(check_extensions)]
Hosts = Annotated[tuple[Annotated[str, AfterValidator(check_host)], ...], NoDecode, _parted(",")]
Origins = Annotated[tuple[Annotated[str, AfterValidator(check_origin)], ...], NoDecode, _parted(",")]
Level = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lambda value: str(value).lower())]
