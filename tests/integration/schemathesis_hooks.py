"""Loaded by Schemathesis: each request has an Idempotency-Key of its own, else all but the first would end in a conflict."""

from __future__ import annotations

import itertools
from typing import Any

import schemathesis

_numbers = itertools.count()
_LONGEST = 240


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    key = case.headers.get("Idempotency-Key")
    if key and len(key) < _LONGEST:
        case.headers["Idempotency-Key"] = f"{key}{next(_numbers)}"
