"""What is told of a model to those who wait for it: a word for programs, a sentence for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from app.jobs.decoding import ModelState
from app.scheduler.plans import Reason, Why

__all__ = ["waiting_state"]


def waiting_state(model: str, reason: Reason) -> ModelState | None:
    """Return the state of a model that something waits for, as if it were not in memory; None where nothing is to be told."""
    sentence = _sentence(model, reason)
    return None if sentence is None else ModelState(state="waiting", reason=str(reason.word), detail=sentence)


def _sentence(model: str, reason: Reason) -> str | None:
    holders = _listed(reason.holders)
    match reason.word:
        case Why.MODEL_LOADING:
            return f"{holders} is being loaded first; {model} comes after it." if holders else f"{model} is about to be loaded."
        case Why.WAITS_FOR_MEMORY if not reason.need_bytes:
            return f"{holders} needs the memory of {model} and comes first; {model} comes after it."
        case Why.WAITS_FOR_MEMORY:
            need, free, budget = (f"{size / 1e9:.1f} GB" for size in (reason.need_bytes, reason.free_bytes, reason.budget_bytes))
            text = f"{model} needs {need}, and {free} of {budget} are free"
            if reason.pinned:
                return f"{text}: {_listed(reason.pinned)} is to stay, by a user's wish."
            return f"{text}: it comes when {holders} has finished." if holders else f"{text}."
        case Why.OVERDUE_TURN:
            return f"{holders} has been waited for longest and comes first; {model} comes after it."
        case Why.MEMORY_PRESSURE if reason.need_bytes:
            need, left = f"{reason.need_bytes / 1e9:.1f} GB", f"{reason.free_bytes / 1e9:.1f} GB"
            return f"{model} needs {need}, and other programs leave {left} of this machine's memory to models: it comes when they use less."
        case Why.MEMORY_PRESSURE:
            return "Other programs use nearly all of this machine's memory; nothing new begins until some is free."
        case _:
            return _of_others(model, reason.word)


def _of_others(model: str, word: str) -> str | None:
    """Say what other machines do about a model, where that is why nothing is done here."""
    match word:
        case Why.IN_MEMORY_ELSEWHERE:
            return f"{model} is in memory of another machine."
        case Why.LOADING_ELSEWHERE:
            return f"{model} is being loaded on another machine."
        case Why.SERVED_ELSEWHERE:
            return f"{model} waits for another machine, which has its files and the memory for it."
        case Why.DOWNLOADING_ELSEWHERE:
            return f"The files of {model} come to another machine, which has the memory for it."
        case Why.AWAITED_ELSEWHERE:
            return f"{model} waits for a machine that is away: no other has its files and the memory for it."
        case Why.ASKED_ELSEWHERE:
            return f"Another machine has just joined; {model} waits until that has said what it has."
        case _:
            return None


def _listed(models: Sequence[str]) -> str:
    return " and ".join((", ".join(models[:-1]), models[-1])) if len(models) > 1 else "".join(models)
