"""What can go wrong with a model: with its name, its files, its size, its place in memory."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors.base import InferenceError

__all__ = [
    "ContextTooLong",
    "DownloadFailed",
    "ModelInUse",
    "ModelLoadFailed",
    "ModelNotDownloaded",
    "ModelTooLarge",
    "NoModelForRole",
    "UnknownModel",
    "UnsupportedTask",
]


_EXAMPLES = {"rerank": "mlx-community/Qwen3-Reranker-0.6B-4bit"}
"""Role -> a model of the hub that can have it, for roles that no profile fills."""


class UnknownModel(InferenceError):
    """No model of the catalog has this name."""

    code = "model_not_found"

    def __init__(self, name: str, nearest: Sequence[str] = ()) -> None:
        hint = f" Did you mean {', '.join(nearest)}?" if nearest else " GET /v1/models and `mlx-local models list` name those it has."
        pull = f" `mlx-local models pull {name}` adds a model of the hub." if "/" in name else ""
        super().__init__(f"The model {name!r} is not in the catalog.{hint}{pull}", param="model")
        self.name = name
        self.nearest = tuple(nearest)


class NoModelForRole(InferenceError):
    """The profile in use gives no model to this role."""

    code = "model_not_found"

    def __init__(self, role: str, candidates: Sequence[str]) -> None:
        able = ", ".join(candidates)
        advice = (
            f"name one that can do it, as `model` or with -m: {able} (`mlx-local models pull {candidates[0]}` gets files that are not here)"
            if candidates
            else f"no model of the catalog can have it: `mlx-local models pull {_EXAMPLES[role]}` gets one"
            if role in _EXAMPLES
            else "name a model of the catalog"
        )
        super().__init__(f"No model has the role {role!r} in this profile; {advice}.", param="model")
        self.role = role


class UnsupportedTask(InferenceError):
    """The model exists but cannot do what the route needs."""

    code = "unsupported_task"

    def __init__(self, model: str, task: str, tasks: Sequence[str]) -> None:
        super().__init__(f"The model {model!r} cannot do {task!r}; it does {', '.join(tasks)}.", param="model")


class ModelNotDownloaded(InferenceError):
    """The catalog knows the model, but its files are not on this machine."""

    code = "model_not_downloaded"

    def __init__(self, model: str) -> None:
        super().__init__(f"The files of {model!r} are not on this machine; run `mlx-local models pull {model}`.", param="model")


class ModelInUse(InferenceError):
    """What was asked for would take a model away from those who use it."""

    code = "model_in_use"


class DownloadFailed(InferenceError):
    """A model's files could not be fetched, or not be made usable."""

    code = "download_failed"


class ModelLoadFailed(InferenceError):
    """The model's files are here but an engine could not be made of them."""

    code = "model_load_failed"


class ModelTooLarge(InferenceError):
    """The model does not fit even when nothing else is resident."""

    code = "model_too_large"

    def __init__(self, model: str, need_bytes: int, budget_bytes: int) -> None:
        super().__init__(
            f"The model {model!r} needs {need_bytes / 1e9:.1f} GB and the budget is {budget_bytes / 1e9:.1f} GB.",
            param="model",
        )
        self.need_bytes = need_bytes
        self.budget_bytes = budget_bytes


class ContextTooLong(InferenceError):
    """Prompt and answer together exceed the model's context window. With *at_least* the prompt was not counted to its end."""

    code = "context_length_exceeded"

    def __init__(
        self, prompt_tokens: int, max_tokens: int | None, context: int, *, param: str = "messages", at_least: bool = False
    ) -> None:
        has = f"at least {prompt_tokens}" if at_least else str(prompt_tokens)
        asked = f" and {max_tokens} are asked for the answer" if max_tokens is not None else ""
        if param == "input":
            what, mend = "input", "Shorten the input, or let truncate_prompt_tokens cut it."
        elif param.startswith("documents."):
            what, mend = "document, with its query,", "Shorten it, or let max_tokens_per_doc or truncate_prompt_tokens cut it."
        elif param in {"query", "instruction"}:
            what, mend = param, f"Shorten the {param}."
        else:
            what, mend = "prompt", "Shorten the prompt" + (" or lower max_tokens." if max_tokens is not None else ".")
        super().__init__(f"This model's context is {context} tokens; the {what} has {has}{asked}. {mend}", param=param)
