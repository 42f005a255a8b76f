"""From what is known to HTML: the templates, and how numbers and times are written in them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.api.dashboard.session import ROOT
from app.jobs.workers import troubles

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["ASSETS", "asset", "render"]

_HERE = Path(__file__).parent
_TONES = 8
_NOTHING = "\N{EN DASH}"
_KILO = 1000
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
ASSETS = {"dashboard.css": "text/css", "dashboard.js": "text/javascript", "icon.svg": "image/svg+xml"}
"""The files that pages load, and what each is."""


def render(template: str, /, **facts: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Return the HTML of a template. What it is given is text, whatever it looks like."""
    return _environment().get_template(template).render(facts)


@cache
def asset(name: str) -> tuple[bytes, str]:
    """Return a file that pages load, and the digest by which its address changes when it does."""
    content = (_HERE / "static" / name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"size": _size, "duration": _duration, "count": _count, "iso": _iso, "clock": _clock, "fixed": _fixed}
    environment.globals |= {"tone": _tone, "address": _address, "root": ROOT, "troubles": troubles}
    return environment


def _address(name: str) -> str:
    return f"{ROOT}/static/{name}?v={asset(name)[1]}"


_tones: dict[str, int] = {}


def _tone(model: str) -> int:
    """Return the number of a model's colour, which is the same wherever the model is named."""
    return _tones.setdefault(model, len(_tones) % _TONES)


def _size(size_bytes: float) -> str:
    """Return ``8.9 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size_bytes) < _KILO:
            return f"{size_bytes:.0f} {unit}" if unit in {"B", "kB"} else f"{size_bytes:.1f} {unit}"
        size_bytes /= _KILO
    return f"{size_bytes:.1f} TB"


def _duration(seconds: float | None) -> str:
    """Return ``0.42 s``, ``3.1 s``, ``2 min 5 s`` or ``3 h 20 min``."""
    if seconds is None:
        return _NOTHING
    if seconds < 1:
        return f"{max(0.0, seconds):.2f} s"
    if seconds < 10:  # noqa: PLR2004 - one digit more below ten
        return f"{seconds:.1f} s"
    if seconds < _MINUTE_S:
        return f"{seconds:.0f} s"
    larger, smaller, names = (_MINUTE_S, 1, "min s") if seconds < _HOUR_S else (_HOUR_S, _MINUTE_S, "h min")
    if seconds >= _DAY_S:
        larger, smaller, names = _DAY_S, _HOUR_S, "d h"
    most, rest = divmod(int(seconds), larger)
    large, small = names.split()
    return f"{most} {large} {rest // smaller} {small}" if rest // smaller else f"{most} {large}"


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _fixed(number: float | None) -> str:
    """Return a rate with as many digits as it deserves."""
    if number is None:
        return _NOTHING
    return f"{number:,.0f}" if number >= 100 or number == 0 else f"{number:.1f}"  # noqa: PLR2004 - three digits


def _moment(at: datetime | float) -> datetime:
    return at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)


def _iso(at: datetime | float) -> str:
    """Return a moment for programs: the script writes it in the reader's own time."""
    return _moment(at).isoformat(timespec="milliseconds")


def _clock(at: datetime | float) -> str:
    """Return a moment for those without the script, by this machine's clock."""
    return f"{_moment(at).astimezone():%H:%M:%S}"
