"""The Python and the commands that our pages show, to be run as they stand there.

The blocks of Python of a page, in order, are one program. A section about a package
that our environment lacks is left out of it, and is a program by itself. A block of
commands is a script of its own. Only the address changes: that of a running stack
takes the place of the one in the page.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["AGENTS_SDK", "COMMANDED", "PAGES", "commands_of", "program_of", "with_address"]

_ROOT = Path(__file__).parents[1]
_DOCS = _ROOT / "docs"

PAGES = ("clients", "messages", "responses", "structure", "tools")
"""The pages of docs/ whose Python asks for text."""

COMMANDED = ("docs/quickstart.md", "docs/recipes.md", "docs/operations.md", "skills/mlx-local-inference/SKILL.md")
"""The pages whose commands run with the starter models; what needs more is in blocks of another kind there."""

AGENTS_SDK = "OpenAI Agents SDK"
"""The section of the page of clients that needs a package of its own."""

_HEADING = re.compile(r"^#+ (.+)$")
_ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|localhost):8787")


def program_of(page: str, section: str | None = None) -> str:
    """Return the Python of *page*, or of one *section* of it alone."""
    found = _sections(page)
    wanted = [section] if section else [heading for heading in found if heading != AGENTS_SDK]
    return "\n".join(found[heading] for heading in wanted)


def commands_of(page: str, kind: str = "bash") -> list[str]:
    """Return the blocks of a page, named by its path: ``bash``, which a test runs, or ``console``, which are shown alone."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", (_ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


def _sections(page: str) -> dict[str, str]:
    """Return heading -> the Python below it, for the sections of *page* that have some."""
    found: dict[str, list[str]] = {}
    heading, inside = "", ""
    for line in (_DOCS / f"{page}.md").read_text("utf-8").splitlines():
        if line.startswith("```"):
            inside = "" if inside else line.removeprefix("```") or "text"
        elif inside == "python":
            found.setdefault(heading, []).append(line)
        elif not inside and (match := _HEADING.match(line)):
            heading = match[1]
    return {heading: "\n".join(lines) + "\n" for heading, lines in found.items()}


def with_address(program: str, url: str) -> str:
    """Return *program*, asking the stack at *url*."""
    changed, count = _ADDRESS.subn(url, program)
    assert count, "the program names no address of ours"
    return changed
