"""What a model's folder says of itself: configuration, generation defaults, context, end tokens.

Reads JSON alone: no weights, no tokenizer, no mlx. A folder that cannot be a
model is refused here with a sentence that names what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import ModelLoadFailed

__all__ = ["Checkpoint"]

_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
_UNSTATED_CONTEXT = 4096
# RoBERTa counts positions from the padding token's on, so the first ones are never used.
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert"})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's folder and the JSON in it."""

    directory: Path
    config: Mapping[str, Any]
    generation: Mapping[str, Any]  # empty where there is no generation_config.json

    @classmethod
    def read(cls, directory: Path) -> Checkpoint:
        """Read the folder.

        Raises:
            ModelLoadFailed: It has no weights, or no configuration that says what it is.
        """
        if not directory.is_dir():
            msg = f"{directory} is not a folder."
            raise ModelLoadFailed(msg)
        config = read_json(directory / "config.json")
        if config is None:
            msg = f"{directory} has no config.json, so it is no model of a known format."
            raise ModelLoadFailed(msg)
        if not isinstance(config.get("model_type"), str):
            msg = f"config.json of {directory} has no model_type."
            raise ModelLoadFailed(msg)
        if config.get("model_file"):
            # The libraries would import that file. A model is data; it does not get to run its own code here.
            msg = f"config.json of {directory} asks to run code of its own (model_file), which is not allowed."
            raise ModelLoadFailed(msg)
        if not any(directory.glob("*.safetensors")):
            msg = f"{directory} has no *.safetensors, so it holds no weights that can be loaded."
            raise ModelLoadFailed(msg)
        return cls(directory, config, read_json(directory / "generation_config.json") or {})

    @property
    def model_type(self) -> str:
        """The architecture's name."""
        return str(self.config["model_type"])

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together, as the configuration states it."""
        stated = [value for key in _CONTEXT_KEYS if isinstance(value := self._text(key), int) and value > 0]
        return stated[0] if stated else _UNSTATED_CONTEXT

    @property
    def positions(self) -> int:
        """Places that an encoder has for tokens: the context, less those that it never uses."""
        unused = int(self.config.get("pad_token_id") or 0) + 1 if self.model_type in _OFFSET_POSITIONS else 0
        return self.context - unused

    @property
    def vocab_size(self) -> int | None:
        """Rows of the embedding table, None where the configuration does not say."""
        value = self._text("vocab_size")
        return value if isinstance(value, int) else None

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """Every token that ends an answer, of both files: each alone is wrong in some published model."""
        found: set[int] = set()
        for value in (self._text("eos_token_id"), self.config.get("eos_token_id"), self.generation.get("eos_token_id")):
            found.update(item for item in (value if isinstance(value, list) else [value]) if isinstance(item, int))
        return frozenset(found)

    def _text(self, key: str) -> object:
        """Return *key* of the language model's part, which vision models nest."""
        nested = self.config.get("text_config")
        inner = nested.get(key) if isinstance(nested, Mapping) else None
        return self.config.get(key) if inner is None else inner


def read_json(file: Path) -> dict[str, Any] | None:
    """Return the object in *file*, None where there is no file.

    Raises:
        ModelLoadFailed: The file is not a JSON object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        msg = f"{file} cannot be read: {error}"
        raise ModelLoadFailed(msg) from error
    if not isinstance(content, dict):
        msg = f"{file} is not a JSON object."
        raise ModelLoadFailed(msg)
    return content
