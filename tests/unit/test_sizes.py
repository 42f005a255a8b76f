"""Files and functions stay short enough to read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_FILE_LINES = 300
_FUNCTION_LINES = 50


_SOURCES = [source for folder in ("app", "daemon", "tests", "bench") for source in sorted((_ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("source", _SOURCES, ids=lambda path: str(path.relative_to(_ROOT)))
def test_a_file_is_short_and_so_is_each_function(source: Path) -> None:
    text = source.read_text(encoding="utf-8")
    assert text.count("\n") <= _FILE_LINES
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name: lines for node in functions if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > _FUNCTION_LINES}
    assert not long
