"""Which files of a repository make its model, and in which order they are fetched. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from typing import NamedTuple

__all__ = ["RepoFile", "in_order", "wanted"]

_DUPLICATES = (
    "*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.ot", "*.pb", "*.tflite", "*.onnx", "*.onnx_data", "*.gguf", "*.ggml",
    "*.mlmodel", "*.mlpackage/*", "*.llamafile", "consolidated*.safetensors",
    "original/*", "onnx/*", "openvino/*", "coreml/*", "metal/*", "gguf/*",
)  # fmt: skip
"""The same weights once more, for other programs."""

_NOT_THE_MODEL = (
    ".*", "*/.*", "*.md", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp", "*.svg", "*.pdf", "*.mp4", "*.py", "*.ipynb",
    "training_args*", "runs/*", "checkpoint-*/*", "LICENSE*", "NOTICE*", "USE_POLICY*",
)  # fmt: skip


class RepoFile(NamedTuple):
    """One file of a repository at one commit."""

    path: str
    size_bytes: int
    etag: str  # the name of its blob in the hub cache

    @property
    def is_weights(self) -> bool:
        """Whether it holds weights, and not how to use them."""
        return self.path.endswith(".safetensors")


def wanted(files: Iterable[RepoFile]) -> list[RepoFile]:
    """Return the files that are to be fetched; none where the repository has no safetensors, because no engine could load it."""
    kept = [file for file in files if not _matches(file.path, _NOT_THE_MODEL) and not _matches(file.path, _DUPLICATES)]
    return kept if any(file.is_weights for file in kept) else []


def in_order(files: Sequence[RepoFile]) -> list[list[RepoFile]]:
    """Return *files* in groups, each to be complete before the next begins.

    A model counts as whole once its configuration and the weights beside that are there. So those weights come
    last: nobody loads a model whose tokenizer, weight index or second network is still on its way.
    """
    small = [file for file in files if not file.is_weights]
    nested = [file for file in files if file.is_weights and "/" in file.path]
    top = [file for file in files if file.is_weights and "/" not in file.path]
    first = [file for file in small if file.path == "config.json"]  # of a gated repository it is refused at once
    return [group for group in (first, [file for file in small if file not in first], nested, top) if group]


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)
