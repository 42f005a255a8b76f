"""Which engine serves which model."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from app.engines.checkpoint import Checkpoint
from app.engines.protocols import Frontend
from app.errors import ModelLoadFailed
from app.models.spec import ModelSpec, Task

__all__ = ["open_frontend", "serves"]

_BY_TASK = {
    Task.CHAT: "text",
    Task.VISION: "text",
    Task.OCR: "text",
    Task.EMBEDDING: "embedding",
    Task.ASR: "hearing",
    Task.TTS: "speech",
    Task.RERANK: "reranking",
}


def serves(spec: ModelSpec) -> bool:
    """Return whether an engine of this version serves *spec*'s tasks."""
    return spec.engine is not None or any(task in _BY_TASK for task in spec.tasks)


def open_frontend(spec: ModelSpec, directory: Path, vad: Path | None = None) -> Frontend:
    """Return the half of *spec*'s model that needs no GPU. Takes seconds; call it off the GPU thread.

    Args:
        spec: What the catalog says of the model. Its ``engine`` comes before its tasks: ``text``, ``embedding``,
            ``hearing``, ``speech``, ``reranking``, or ``package.module:function`` for an adapter of your own, called as this function is.
        directory: Where the model's files are.
        vad: Where the weights are that find speech; for models that hear.

    Raises:
        ModelLoadFailed: The folder is no model, or of an architecture that no engine here serves.
    """
    if spec.engine and ":" in spec.engine:
        return _foreign(spec, directory)
    checkpoint = Checkpoint.read(directory)
    engine = spec.engine or next((_BY_TASK[task] for task in spec.tasks if task in _BY_TASK), None)
    if engine == "text":
        from app.engines.text_frontend import TextFrontend

        return TextFrontend(spec, checkpoint)
    if engine == "embedding":
        from app.engines.embedding_frontend import EmbeddingFrontend

        return EmbeddingFrontend(spec, checkpoint)
    if engine == "hearing":
        from app.engines.hearing_frontend import HearingFrontend

        return HearingFrontend(spec, checkpoint, vad)
    if engine == "speech":
        from app.engines.speech_frontend import SpeechFrontend

        return SpeechFrontend(spec, checkpoint)
    if engine == "reranking":
        from app.engines.rerank_frontend import RerankFrontend

        return RerankFrontend(spec, checkpoint)
    wanted = f"names the engine {engine!r}" if engine else f"is for {', '.join(spec.tasks)}"
    msg = f"The model {spec.id!r} {wanted}, and there is no such engine in this version."
    raise ModelLoadFailed(msg)


def _foreign(spec: ModelSpec, directory: Path) -> Frontend:
    """Open an adapter that is not ours, named by the user's catalog."""
    module, _, function = str(spec.engine).partition(":")
    try:
        opener = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        text = f"The model {spec.id!r} names the engine {spec.engine!r}, which cannot be imported: {error}."
        raise ModelLoadFailed(text) from error
    return cast("Frontend", opener(spec, directory))
