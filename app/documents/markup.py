"""What a model wrote of a page, as text and as Markdown. Pure.

Tables come in OTSL (arXiv:2305.03393): a token before each cell, which says
whether it is filled, empty or the continuation of a merged one. Charts come as
lines with bars between their cells, formulas as LaTeX in any of its brackets.
What is none of these is left as it is: models write Markdown of their own.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

__all__ = ["markdown_of", "text_of"]

Row = list[tuple[str, str]]  # a cell's token and its text

_CELL = re.compile(r"<(fcel|ecel|lcel|ucel|xcel|ched|rhed|srow|nl)>")
_MERGED = frozenset({"lcel", "ucel", "xcel"})
_BRACKETS = (("$$", "$$"), (r"\[", r"\]"), (r"\(", r"\)"), ("$", "$"))
_FEWEST_LINES = 2  # of a chart's table


def text_of(written: str) -> str:
    """Return what is written as plain text: a table's cells have tabs between them."""
    written = written.strip()
    if not _CELL.search(written):
        return written
    lines = ["\t".join(_flat(text) for _, text in row) for row in _rows(written)]
    return "\n".join(line.rstrip() for line in lines).strip()


def markdown_of(written: str, task: str) -> str:
    """Return what is written as Markdown: a table with bars, or one of HTML where cells are merged.

    Args:
        written: By the model.
        task: What it was asked to read: ``ocr``, ``table``, ``formula`` or ``chart``.
    """
    written = written.strip()
    if _CELL.search(written):
        rows = _rows(written)
        merged = any(token in _MERGED for row in rows for token, _ in row)
        return _html(rows) if merged else _barred([[text for _, text in row] for row in rows])
    if task == "formula" and written:
        return f"$$\n{_unbracketed(written)}\n$$"
    if task == "chart":
        lines = [line.strip().strip("|") for line in written.splitlines() if line.strip()]
        if len(lines) >= _FEWEST_LINES and all("|" in line for line in lines):
            cells = [[cell.strip() for cell in line.split("|")] for line in lines]
            return _barred([row for row in cells if not all(re.fullmatch(r":?-+:?", cell) for cell in row)])
    return written


def _rows(written: str) -> list[Row]:
    """Return a table's rows, all of one width."""
    rows: list[Row] = [[]]
    pieces = _CELL.split(written)
    if lead := pieces[0].strip():  # a caption, or a first cell whose token is missing
        rows[0].append(("fcel", lead))
    for token, text in zip(pieces[1::2], pieces[2::2], strict=True):
        if token == "nl":
            rows.append([])
        if token != "nl" or text.strip():
            rows[-1].append(("fcel" if text.strip() else token, text.strip()))  # what has words is a cell, whatever its token says
    rows = [row for row in rows if row]
    width = max((len(row) for row in rows), default=0)
    return [[*row, *[("ecel", "")] * (width - len(row))] for row in rows]


def _flat(text: str) -> str:
    return " ".join(text.split())


def _barred(rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown; its first row is the head."""
    width = max((len(row) for row in rows), default=0)
    lines = ["| " + " | ".join(_flat(cell).replace("|", r"\|") for cell in [*row, *[""] * (width - len(row))]) + " |" for row in rows]
    return "\n".join([*lines[:1], "|" + " --- |" * width, *lines[1:]]) if lines else ""


def _html(rows: Sequence[Row]) -> str:
    """Return a table of HTML, in which cells may go over several rows and columns."""
    lines = []
    for down, row in enumerate(rows):
        cells = []
        for across, (token, text) in enumerate(row):
            if token in _MERGED and not _stray(rows, down, across):
                continue
            columns = 1 + _run([one for one, _ in row[across + 1 :]], "lcel")
            lines_down = 1 + _run([below[across][0] for below in rows[down + 1 :]], "ucel")
            spans = (f' colspan="{columns}"' if columns > 1 else "") + (f' rowspan="{lines_down}"' if lines_down > 1 else "")
            cells.append(f"<td{spans}>{html.escape(_flat(text), quote=False)}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join(["<table>", *lines, "</table>"])


def _stray(rows: Sequence[Row], down: int, across: int) -> bool:
    """Return whether a continuation continues nothing: then it is a cell of its own."""
    token = rows[down][across][0]
    return (token in {"lcel", "xcel"} and not across) or (token in {"ucel", "xcel"} and not down)


def _run(tokens: Sequence[str], wanted: str) -> int:
    """Return how many of *tokens* are *wanted* before another one comes."""
    return next((count for count, token in enumerate(tokens) if token != wanted), len(tokens))


def _unbracketed(formula: str) -> str:
    for left, right in _BRACKETS:
        if len(formula) > len(left) + len(right) and formula.startswith(left) and formula.endswith(right):
            inner = formula[len(left) : -len(right)]
            return inner.strip() if left not in inner else formula
    return formula
