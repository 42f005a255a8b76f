"""Objects that are told apart by their ``type``: one that is not known is refused by its name, not by what pydantic tried."""

from __future__ import annotations

from collections.abc import Callable

from app.jobs.bodies import refusal

__all__ = ["refuse_kind", "refuse_kinds"]

_SHOWN_CHARACTERS = 40


def refuse_kind(data: object, knows: Callable[[str], bool], sentence: str, default: str | None = None) -> object:
    """Return *data*, if it is one of those or no object at all.

    Args:
        data: Whatever came.
        knows: Whether a type is one of them.
        sentence: What is to be said of another, ``{kind}``.
        default: The type of an object that says none.

    Raises:
        PydanticCustomError: It is of another type, or of none.
    """
    if not isinstance(data, dict):
        return data
    kind = data.get("type", default)
    if not isinstance(kind, str):
        raise refusal(param="type", message="must be a string" if "type" in data else "is required")
    if not knows(kind):
        raise refusal(param="type", message=sentence.replace("{kind}", repr(kind[:_SHOWN_CHARACTERS])))
    return data


def refuse_kinds(data: object, known: tuple[str, ...], hint: str = "", default: str | None = None) -> object:
    """Likewise of a few *known* ones, with a *hint* of what to do instead."""
    told = f"is {{kind}}, which this version does not take{f' ({hint})' if hint else ''}; it may be {', '.join(known)}"
    return refuse_kind(data, lambda kind: kind in known, told, default)
