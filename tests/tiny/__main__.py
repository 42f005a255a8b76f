"""``python -m tests.tiny OUT NAME...``: build tiny models; without a name, all of them."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.tiny.build import build, names


def main(arguments: list[str]) -> int:
    """Build what *arguments* name and print where each one is."""
    if not arguments or arguments[0].startswith("-"):
        sys.stderr.write(f"usage: python -m tests.tiny OUT [NAME...]\nnames: {' '.join(names())}\n")
        return 2
    root, *wanted = arguments
    for name in wanted or names():
        sys.stdout.write(f"{build(name, Path(root))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
