"""Which pages are meant by ``1-3,7,12-``. Pure."""

from __future__ import annotations

import re

__all__ = ["PAGES_PATTERN", "page_numbers"]

PAGES_PATTERN = r"^\s*[0-9]{1,6}(-[0-9]{0,6})?(\s*,\s*[0-9]{1,6}(-[0-9]{0,6})?)*\s*$"
"""What a selection of pages looks like."""


def page_numbers(selection: str | None, count: int) -> list[int]:
    """Return the pages that are meant, from 1 on, each once, in the order of the document.

    Args:
        selection: Numbers and ranges with commas between them; a range without an end goes to the last page; None: all pages.
        count: How many pages there are.

    Raises:
        ValueError: It is no selection, or names a page that is not there; a sentence says which.
    """
    if selection is None:
        return list(range(1, count + 1))
    if not re.fullmatch(PAGES_PATTERN, selection, re.ASCII):
        msg = "pages must be numbers and ranges with commas between them, such as 1-3,7,12-"
        raise ValueError(msg)
    meant: set[int] = set()
    for part in selection.split(","):
        first, dash, last = part.strip().partition("-")
        begin, end = int(first), int(last or count) if dash else int(first)
        for number in (begin, int(last) if last else begin):
            if not 1 <= number <= count:
                msg = f"there is no page {number}: the document has {count} page{'s' if count > 1 else ''}, counted from 1"
                raise ValueError(msg)
        if end < begin:
            msg = f"the range {part.strip()} ends before it begins"
            raise ValueError(msg)
        meant.update(range(begin, end + 1))
    return sorted(meant)
