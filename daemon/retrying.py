"""``mlx-local transcribe --retry``: remove the marks of what failed, so that the daemon tries it again. Works while none runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.errors import InferenceError
from app.settings import load_settings
from daemon.front_matter import read_head
from daemon.naming import shown
from daemon.scanning import scan

__all__ = ["main", "retry"]


def retry(roots: Sequence[Path], extensions: Sequence[str], only: Sequence[Path]) -> Iterator[Path]:
    """Remove marks and yield the recordings that are tried again.

    Args:
        roots: The watched folders.
        extensions: Of recordings.
        only: Recordings, marks or folders; none: all that failed.
    """
    chosen = [path.resolve() for path in only]
    for root in dict.fromkeys(root.resolve() for root in roots if root.is_dir()):
        for mark in scan(root, extensions, ()).failed_marks:
            head = read_head(mark)
            if head is None or head.get("result") != "failed":
                continue
            recording = mark.with_name(Path(head.get("source", "")).name)
            if not chosen or any(recording.is_relative_to(path) or path == mark for path in chosen):
                mark.unlink(missing_ok=True)
                yield recording


def main(arguments: Sequence[str]) -> int:
    """Remove the marks of *arguments*, or all; say which recordings are tried again. Exit code 1: none of those named has failed."""
    try:
        settings = load_settings()
        found = list(retry(settings.watched_dirs, settings.transcribe_extensions, [Path(argument) for argument in arguments]))
    except InferenceError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for recording in found:
        sys.stdout.write(f"{shown(recording)} is tried again.\n")
    if not found:
        sys.stderr.write("No recording of these has failed.\n" if arguments else "No recording has failed.\n")
    return 0 if found or not arguments else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
