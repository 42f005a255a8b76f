"""A fast BLAS for MLX on a CPU-only Linux machine, without root.

MLX's CPU wheel carries the reference BLAS. ``blas_shim.c`` puts OpenBLAS, from
a wheel, before it; gcc compiles the shim into the virtual environment, and the
worker preloads it. Standard library alone; nothing here imports mlx.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["BlasUnavailable", "build_shim", "built_shim"]

_SOURCE = Path(__file__).with_name("blas_shim.c")
_WHEEL = "scipy-openblas32"


class BlasUnavailable(Exception):
    """The shim cannot be built here; the message is one line that says why and what to do."""


def built_shim() -> Path | None:
    """Return the shim that fits this source and the installed OpenBLAS, None when it is not built."""
    target = _target()
    return target if target is not None and target.is_file() else None


def build_shim() -> Path:
    """Compile the shim into the virtual environment, unless it is there.

    Raises:
        BlasUnavailable: No OpenBLAS wheel, no C compiler, or the compiler refuses.
    """
    target, wheel = _target(), _wheel_folder()
    if target is None or wheel is None:
        message = f"the wheel {_WHEEL} is not installed (extra 'cpu'), so float32 matrix products stay about 26 times slower"
        raise BlasUnavailable(message)
    if target.is_file():
        return target
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        message = "there is no C compiler, so float32 matrix products stay about 26 times slower: install gcc and run `make setup` again"
        raise BlasUnavailable(message)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        library = wheel / "lib"
        flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Werror", f"-I{wheel / 'include'}", f"-Wl,-rpath,{library}", "-Wl,--no-undefined"]
        command = [compiler, *flags, "-o", str(made), str(_SOURCE), f"-L{library}", "-l:libscipy_openblas.so"]
        compiled = subprocess.run(command, capture_output=True, text=True, check=False)
        if compiled.returncode != 0:
            message = f"{compiler} could not build the BLAS shim: {' '.join(compiled.stderr.split())[-300:]}"
            raise BlasUnavailable(message)
        made.rename(target)
    return target


def _target() -> Path | None:
    """Return where the shim belongs. Its name holds what it was made from, so that an upgrade makes a new one."""
    if sys.platform != "linux" or _wheel_folder() is None:
        return None
    made_from = _SOURCE.read_bytes() + importlib.metadata.version(_WHEEL).encode() + os.fsencode(sys.prefix)
    return Path(sys.prefix) / "lib" / "mlx-local" / f"libmlxlocalblas-{hashlib.sha256(made_from).hexdigest()[:12]}.so"


def _wheel_folder() -> Path | None:
    found = importlib.util.find_spec("scipy_openblas32")
    return Path(found.origin).parent if found is not None and found.origin else None
