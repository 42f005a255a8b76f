"""Models of the hub that no catalog lists: what they are called here, what they can do, and where that is noted.

``pulled.toml`` in the home has an entry for each. The software writes it and reads it between the built-in catalog and
yours, so an entry of yours always wins; to change one, copy it into the file of ``MLX_LOCAL_CATALOG``.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from app.errors import DownloadFailed, InferenceError, UnknownModel
from app.models.catalog import Catalog
from app.models.catalog_file import CatalogFile, is_hub_name, read_catalog_file, read_specs
from app.models.spec import ModelSpec, Task
from app.settings import Settings

__all__ = ["adopt", "find_or_propose", "tasks_of"]

_HEADING = (
    "# Models that `mlx-local models pull` added. Written by the software: entries of your own go into the file of MLX_LOCAL_CATALOG.\n"
)
_SPEECH_TO_TEXT = re.compile(r"(?<![a-z])(whisper|asr|parakeet|canary|voxtral)(?![a-z])", re.IGNORECASE)
_TEXT_TO_SPEECH = re.compile(r"(?<![a-z])(tts|kokoro|bark|csm|dia|outetts)(?![a-z])", re.IGNORECASE)
_READS_PAGES = re.compile(r"ocr", re.IGNORECASE)


def find_or_propose(name: str, catalog: Catalog) -> tuple[str, str]:
    """Return the id and the repository or directory of the model that *name* means.

    A name of the form ``organisation/name`` that the catalog lacks is taken for a repository of the hub; its id is then
    the part after the slash, or both parts where another model has that name.

    Raises:
        UnknownModel: It is neither.
    """
    try:
        spec = catalog.find(name)
    except UnknownModel:
        repo = name.strip()
        if not is_hub_name(repo):
            raise
        short = repo.partition("/")[2]
        return (repo.replace("/", "--") if _taken(short, catalog) else short), repo
    return spec.id, spec.repo


def adopt(model: str, repo: str, directory: Path, settings: Settings) -> ModelSpec:
    """Note that *model* is there from now on; harmless when repeated.

    Args:
        model: Its id, as :func:`find_or_propose` gave it.
        repo: The repository that it came from.
        directory: Where its files are: they say what it can do.
        settings: Say which home.

    Raises:
        DownloadFailed: Nobody can tell from its files what it can do.
    """
    tasks = tasks_of(directory, repo)
    if not tasks:
        msg = (
            f"{repo!r} was downloaded, but its config.json does not say what it can do: give it an entry with its tasks in the file"
            " of MLX_LOCAL_CATALOG."
        )
        raise DownloadFailed(msg, param="model")
    spec = ModelSpec(id=model, repo=repo, tasks=tasks)
    file = settings.pulled_catalog
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the worker and a command may both have something to note
        known = read_specs(read_catalog_file(file, CatalogFile), file) if file.is_file() else {}
        _write(file, {**known, spec.id.casefold(): spec}.values())
    return spec


def tasks_of(directory: Path, repo: str) -> tuple[Task, ...]:
    """Return what the model in *directory* can do, by its configuration and, where that says too little, its name."""
    config = _object(directory / "config.json")
    said = config.get("architectures")
    architectures = " ".join(map(str, said)) if isinstance(said, list) else ""
    what = f"{config.get('model_type', '')} {repo}"
    if _SPEECH_TO_TEXT.search(what):
        return (Task.ASR,)
    if _TEXT_TO_SPEECH.search(what):
        return (Task.TTS,)
    if "SequenceClassification" in architectures or re.search(r"rerank", repo, re.IGNORECASE):
        return (Task.RERANK,)
    if (directory / "modules.json").is_file() or re.search(r"embed", repo, re.IGNORECASE) or architectures.endswith("Model"):
        return (Task.EMBEDDING,)
    if "vision_config" in config:
        return (Task.OCR, Task.VISION) if _READS_PAGES.search(what) else (Task.CHAT, Task.VISION)
    return (Task.CHAT,) if "ForCausalLM" in architectures or "ConditionalGeneration" in architectures else ()


def _taken(name: str, catalog: Catalog) -> bool:
    try:
        catalog.find(name)
    except UnknownModel:
        return False
    except InferenceError:
        return True  # the name of a role
    return True


def _write(file: Path, specs: Iterable[ModelSpec]) -> None:
    """Replace *file*, whole or not at all."""
    # What JSON writes for a text or a list of texts is TOML too.
    facts = ({"id": spec.id, "repo": spec.repo, "tasks": [task.value for task in spec.tasks]} for spec in specs)
    entries = ("\n[[model]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in fact.items()) for fact in facts)
    fresh = file.with_suffix(".new")
    fresh.write_text(_HEADING + "".join(entries), encoding="utf-8")
    fresh.replace(file)


def _object(file: Path) -> Mapping[str, object]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
