"""Which pages are meant by ``1-3,7,12-``. Pure."""

from __future__ import annotations

import re

from app.errors import InvalidRequest

__all__ = ["PAGES_PATTERN", "page_numbers"]

PAGES_PATTERN = r"^\s*[0-9]{1,6}(-[0-9]{0,6})?(\s*,\s*[0-9]{1,6}(-[0-9]{0,6})?)*\s*$"
"""What a selection of pages looks like."""


def page_numbers(selection: str | None, count: int, most: int | None = None) -> list[int]:
    """Return the pages that are meant, from 1 on, each once, in the order of the document.

    Args:
        selection: Numbers and ranges with commas between them; a range without an end goes to the last page; None: all pages.
        count: How many pages there are.
        most: More are refused.

    Raises:
        InvalidRequest: It is no selection, names a page that is not there, or means too many.
    """
    meant = set(range(1, count + 1)) if selection is None else _meant(selection, count)
    if most is not None and len(meant) > most:
        msg = f"these are {len(meant)} pages, and at most {most} of a document are read at once; choose fewer, such as 1-{most}"
        raise _refusal(msg)
    return sorted(meant)


def _meant(selection: str, count: int) -> set[int]:
    if not re.fullmatch(PAGES_PATTERN, selection, re.ASCII):
        msg = "must be numbers and ranges with commas between them, such as 1-3,7,12-"
        raise _refusal(msg)
    meant: set[int] = set()
    for part in selection.split(","):
        first, dash, last = part.strip().partition("-")
        begin = int(first)
        end = int(last or count) if dash else begin
        for number in (begin, int(last or begin)):
            if not 1 <= number <= count:
                msg = f"there is no page {number}: the document has {count}, counted from 1"
                raise _refusal(msg)
        if end < begin:
            msg = f"the range {part.strip()} ends before it begins"
            raise _refusal(msg)
        meant.update(range(begin, end + 1))
    return meant


def _refusal(reason: str) -> InvalidRequest:
    return InvalidRequest(f"`pages`: {reason}.", param="pages")
