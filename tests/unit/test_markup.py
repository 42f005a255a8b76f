"""What models write of tables, charts and formulas becomes text and Markdown."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies

from app.documents.markup import markdown_of, text_of

_TABLE = "<fcel>Name<fcel>p < 0.05<nl><fcel>a|b<ecel><nl>"
_MERGED = "<fcel>Both<lcel><fcel>C<nl><fcel>1<fcel>2<ucel><nl>"


def test_a_table_is_text_with_tabs_and_markdown_with_bars() -> None:
    assert text_of(_TABLE) == "Name\tp < 0.05\na|b"
    assert markdown_of(_TABLE, "table") == "| Name | p < 0.05 |\n| --- | --- |\n| a\\|b |  |"


def test_a_table_with_merged_cells_is_one_of_html() -> None:
    assert markdown_of(_MERGED, "table") == (
        '<table>\n<tr><td colspan="2">Both</td><td rowspan="2">C</td></tr>\n<tr><td>1</td><td>2</td></tr>\n</table>'
    )
    assert text_of(_MERGED) == "Both\t\tC\n1\t2"
    square = "<fcel>A&B<lcel><nl><ucel><xcel><nl>"
    assert '<td colspan="2" rowspan="2">A&amp;B</td>' in markdown_of(square, "table")


@pytest.mark.parametrize(("written", "lines"), [("a<fcel>b<nl><fcel>c", 3), ("<fcel>1<nl><fcel>1<fcel>2<nl>", 3), ("<nl><nl>", 0)])
def test_a_table_that_is_not_well_formed_is_one_all_the_same(written: str, lines: int) -> None:
    assert len(markdown_of(written, "table").splitlines()) == lines


@pytest.mark.parametrize("written", ["x^2", "$$x^2$$", r"\[ x^2 \]", r"\(x^2\)", "$x^2$"])
def test_a_formula_stands_between_dollars_whatever_it_was_written_in(written: str) -> None:
    assert markdown_of(written, "formula") == "$$\nx^2\n$$"
    assert text_of(written) == written


def test_a_chart_becomes_a_table() -> None:
    assert markdown_of("Year | Value\n2010 | 5\n2011 | 6", "chart") == "| Year | Value |\n| --- | --- |\n| 2010 | 5 |\n| 2011 | 6 |"
    assert markdown_of("| Year | Value |\n|---|:-:|\n| 2010 | 5 |", "chart") == "| Year | Value |\n| --- | --- |\n| 2010 | 5 |"
    assert markdown_of("No numbers here.", "chart") == "No numbers here."


def test_a_text_is_left_as_it_is() -> None:
    assert markdown_of(" # Title\nLine | one\n", "ocr") == text_of(" # Title\nLine | one\n") == "# Title\nLine | one"


_WRITTEN = strategies.lists(strategies.sampled_from(["<fcel>", "<ecel>", "<lcel>", "<ucel>", "<xcel>", "<nl>", "Q", "|", "<", " ", "\n"]))


@given(parts=_WRITTEN, task=strategies.sampled_from(["ocr", "table", "chart", "formula"]))
def test_whatever_is_written_no_word_is_lost(parts: list[str], task: str) -> None:
    written = "".join(parts)
    for made in (text_of(written), markdown_of(written, task)):
        assert made.count("Q") == written.count("Q")
