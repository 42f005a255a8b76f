"""What request bodies have in common: how strict they are, how they refuse, and fields that several have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.setting_values import parse_duration

__all__ = [
    "FOR_EVER",
    "KEEP_ALIVE_WORDS",
    "MAX_TOKENS",
    "Body",
    "KeepAlive",
    "Metadata",
    "ModelName",
    "Seed",
    "TokenId",
    "keep_seconds",
    "refusal",
    "refuse_unsupported",
]

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]

# Whole numbers end up in arrays of 32 or 64 bits: a larger one is the caller's mistake, not ours to find later.
MAX_TOKENS = 2**31 - 1
TokenId = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]

FOR_EVER = -1.0
"""A ``keep_alive`` without an end."""

Metadata = Annotated[
    dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]], Field(max_length=16)
]
"""What callers pin to a thing: OpenAI's limits."""


def _read_keep_alive(value: object) -> float:
    return FOR_EVER if value in (-1, "-1") else parse_duration(value).total_seconds()


KeepAlive = Annotated[
    float,
    BeforeValidator(_read_keep_alive),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": -1},
                {"type": "number", "minimum": 0, "maximum": 10 * 365 * 86400},
                {"type": "string", "pattern": r"^(-1|[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d)?)$", "examples": ["10m"]},
            ]
        }
    ),
]
KEEP_ALIVE_WORDS = "How long the model stays in memory after this: seconds or `10m`; 0: it leaves when nothing uses it; -1: it stays."


class Body(BaseModel):
    """What every body has in common."""

    # protected_namespaces: OpenAI's field is called "model".
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


def refusal(*, param: str, message: str) -> PydanticCustomError:
    """Return the error for what OpenAI knows and this version cannot do."""
    kind = "unsupported_parameter"
    return PydanticCustomError(kind, "{reason}", {"param": param, "reason": message})


def refuse_unsupported(data: Any, unsupported: Mapping[str, tuple[object, ...]]) -> None:  # noqa: ANN401 - whatever came
    """Refuse the first of the *unsupported* fields that *data* asks something with.

    Args:
        data: A body as it came.
        unsupported: Field -> values that ask for nothing.

    Raises:
        PydanticCustomError: It has one.
    """
    for name, harmless in unsupported.items() if isinstance(data, dict) else ():
        if name in data and data[name] not in harmless:
            raise refusal(param=name, message="is not supported by this version; leave it out")


def keep_seconds(keep_alive: float | None) -> float | None:
    """Return a checked ``keep_alive`` in seconds, infinite where it has no end; None where nothing was said."""
    return math.inf if keep_alive == FOR_EVER else keep_alive
