"""The ``Prefer`` header (RFC 7240): whether a caller waits for its answer, and how long.

Preferences that we do not know, or whose value makes no sense, are ignored,
as the RFC asks. What was honoured is echoed in ``Preference-Applied``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Preference", "parse_prefer"]

_MAX_WAIT_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Preference:
    """What a caller prefers."""

    respond_async: bool = False
    wait_s: int | None = None

    @property
    def waits(self) -> bool:
        """Whether anybody waits at all."""
        return self.wait_s != 0 if self.wait_s is not None else not self.respond_async

    @property
    def may_end_in_receipt(self) -> bool:
        """Whether its caller may get a receipt instead of an answer."""
        return self.respond_async or self.wait_s is not None

    @property
    def applied(self) -> dict[str, str]:
        """The response header that says what was honoured."""
        honoured = ["respond-async"] if self.respond_async else []
        if self.wait_s is not None:
            honoured.append(f"wait={self.wait_s}")
        return {"Preference-Applied": ", ".join(honoured)} if honoured else {}


def parse_prefer(headers: Iterable[str]) -> Preference:
    """Read the values of every ``Prefer`` header of a request. Of a preference given twice the first counts."""
    found: dict[str, str] = {}
    for item in ",".join(headers).split(","):
        name, _, value = item.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = found.get("wait", "")
    return Preference(
        respond_async="respond-async" in found,
        wait_s=min(int(wait), _MAX_WAIT_S) if wait.isascii() and wait.isdigit() and len(wait) < 20 else None,  # noqa: PLR2004 - no number of seconds is longer
    )
