"""Files that the home has for its user, written again at each start so that they fit this installation."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["write_home_files"]

# Runs under whatever `python` is: nothing newer than Python 3.0 may be in it.
_DOWNLOAD_MODELS = '''\
#!/usr/bin/env python3
"""Download every default model, with progress: those of the profile's roles that are not on this machine yet.

Written by `mlx-local up`. It hands over to the Python of the installation, so any Python 3 may start it.
Arguments are those of `mlx-local models pull`: --json, for one.
"""

import os
import sys

PYTHON = {python!r}


def main():
    if not os.path.exists(PYTHON):
        sys.exit("{{}} is gone: start `mlx-local up` of the new installation once, and it writes this file anew.".format(PYTHON))
    os.environ.setdefault("MLX_LOCAL_HOME", os.path.dirname(os.path.abspath(__file__)))
    command = [PYTHON, "-P", "-m", "app.cli.main", "models", "pull", "--defaults"]
    os.execv(PYTHON, command + sys.argv[1:])


if __name__ == "__main__":
    main()
'''


def write_home_files(home: Path) -> None:
    """Write ``download_models.py`` into *home*, whole or not at all."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    script = home / "download_models.py"
    fresh = home / ".download_models.new"
    fresh.write_text(_DOWNLOAD_MODELS.format(python=sys.executable), encoding="utf-8")
    fresh.chmod(0o755)
    fresh.replace(script)
