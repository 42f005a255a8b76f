"""The pages of settings and routes say what the code does now."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.reference import pages

_DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def fresh() -> dict[str, str]:
    return pages()


@pytest.mark.parametrize("name", ["settings.md", "routes.md"])
def test_a_page_is_up_to_date(fresh: dict[str, str], name: str) -> None:
    assert (_DOCS / name).read_text("utf-8") == fresh[name], "run `make docs`"
