"""mlx-vlm's batch generator, and what we change of it.

It reads a prompt in pieces and then, by itself, the prompt's last token: a pass
over all weights for one token. Here a last piece is read to its end. That is
dear only where logits are made of every place, so the model's last norm is made
to let the wanted places through and no other; families whose last norm is not
where we look for it keep the two passes. Private names of the generator are
known here and nowhere else; tests/conformance/test_libraries.py has one test for each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

import mlx.core as mx
from mlx import nn
from mlx_vlm.generate import BatchGenerator

from app.engines.vlm_library_prefixes import SharedPrefixes, keeps_every_token, state_cache

__all__ = ["Generator", "LastPlaces"]


class LastPlaces(nn.Module):  # type: ignore[misc]  # MLX's types do not define it
    """The last norm of a model, of the last places alone: the head after it then makes no other logits."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.places = 1

    def __call__(self, hidden: mx.array) -> mx.array:
        """Return the norm of the last places of *hidden*, shape (rows, places, size)."""
        wanted: mx.array = self.norm(hidden[:, -self.places :])
        return wanted


class _NoEnds:
    """All that the generator asks of a processor: a rule that says of a token whether it ends its row."""

    def __init__(self) -> None:
        self.stopping_criteria = self

    def add_eos_token_ids(self, _more: object) -> None:
        """Take none."""

    def __call__(self, _token: int) -> bool:
        return False


class Generator(BatchGenerator):
    """A batch generator whose pieces have the size of the moment.

    Attributes:
        piece: Tokens of a prompt that one step reads at most.
        prefixes: What is kept of prompts read before, None where the library keeps whole states, or nothing.
    """

    def __init__(self, language_model: nn.Module, *, piece: int, cache_bytes: int, **options: Any) -> None:  # noqa: ANN401 - the library's
        self.piece = piece
        self.prefixes = SharedPrefixes(cache_bytes) if cache_bytes and keeps_every_token(language_model) else None
        self._last = _last_places(language_model)
        self._resting: Any = None  # the library's batch of them
        states = state_cache(cache_bytes) if cache_bytes and self.prefixes is None else None
        # It looks for a rule of where rows end, and gets one that ends none: whoever draws the tokens knows.
        super().__init__(language_model, _NoEnds(), prefill_step_size=piece, apc_manager=states, **options)
        if self.prefixes is not None:
            self.apc = self.apc_manager = cast("Any", self.prefixes)
            self.apc_mode = self.prefixes.legacy_mode
        # All that close() undoes is the wired limit, which belongs to the process (device.settle_device): with
        # several engines, each would restore what it found, in any order.
        super().close()  # type: ignore[no-untyped-call]

    @property
    def incoming(self) -> list[int]:
        """The rows whose prompts the next step reads, in the order in which it holds them."""
        if self._prompt_batch is not None:
            return list(self._prompt_batch.uids)
        return [waiting[0] for waiting in self.unprocessed_prompts]

    @property
    def aside(self) -> list[int]:
        """The rows whose prompts rest, half read, while others' are read."""
        return [] if self._resting is None else list(self._resting.uids)

    def set_aside(self) -> None:
        """Let the prompts on their way in rest: others may be inserted, and are read first."""
        self._resting, self._prompt_batch = self._prompt_batch, None

    def take_up(self) -> None:
        """Go on with the prompts that rest, if none is to be read before them."""
        if self._resting is not None and not self.has_pending_prompts:
            self._prompt_batch, self._resting = self._resting, None

    def remove(self, uid: int) -> bool:
        """End a row, wherever it is."""
        if uid not in self.aside:
            return bool(super().remove(uid))
        with mx.stream(self.stream):
            self._resting.remove(uid)
        self._resting = self._resting if self._resting.uids else None
        return True

    @property
    def columns(self) -> int:
        """How much of the prompt on its way in was read."""
        return 0 if self._prompt_batch is None else int(self._prompt_batch._processed_prompt_columns)  # noqa: SLF001

    def set_piece(self, tokens: int) -> None:
        """Read at most so many tokens of a prompt in the next step, and its last token with them if it is among them.

        Prompts that wait are read together.
        """
        self.piece = tokens
        self.prefill_batch_size = max(1, len(self.unprocessed_prompts))
        longest = max((len(waiting[1]) for waiting in self.unprocessed_prompts), default=0)
        self.prefill_step_size = None if self._last is not None and longest <= tokens else tokens
        if self._last is not None:
            self._last.places = 1
        if self._prompt_batch is not None:
            self._fit(self._prompt_batch)

    def next(self, **named: Any) -> tuple[list[Any], list[Any]]:  # noqa: ANN401 - the library's
        """Decode one token of every row and read one piece; return the prompts read to their end, and the tokens."""
        prompts, tokens = super().next(**named)  # type: ignore[no-untyped-call]
        return prompts, tokens

    def unread(self, tokens: Sequence[int]) -> int:
        """Return how many of *tokens* a prompt of them would have to read."""
        return len(tokens) - (self.prefixes.shared(tokens) if self.prefixes is not None else 0)

    def keep(self, row: int, tokens: Sequence[int]) -> None:
        """Keep the keys and values of *row*, which decodes, for prompts that begin with its *tokens*."""
        if self.prefixes is not None:
            batch = self._generation_batch
            self.prefixes.keep(tokens, batch.prompt_cache, batch.uids.index(row))

    def leave(self, rows: Collection[int]) -> None:
        """End *rows*, which decode: one pass over the others' keys and values, however many leave."""
        batch = self._generation_batch
        with mx.stream(self.stream):
            batch.filter([place for place, row in enumerate(batch.uids) if row not in rows])

    def limit_prefix_cache(self, most_bytes: int) -> int:
        """Keep at most *most_bytes* of prompts read before, from now on. Return what may be kept: more while some of it is in use."""
        if self.prefixes is not None:
            self.prefixes.limit(most_bytes)
            return most_bytes
        if self.apc_manager is None:
            return 0
        grows = most_bytes >= self.apc_manager.memory_max_bytes
        self.apc_manager.memory_max_bytes = most_bytes
        if grows:
            return most_bytes
        self.apc_manager.prepare_prefill(0)  # drops what is over the limit
        return max(most_bytes, int(self.apc_manager.resident_bytes()))

    def _build_mixed_prompt_batch(self, sequences: list[Any]) -> Any:  # noqa: ANN401 - the library's
        batch = super()._build_mixed_prompt_batch(sequences)  # of prompts some of which have a prefix in the cache
        if batch is not None:
            self._fit(batch)
        return batch

    def _fit(self, batch: Any) -> None:  # noqa: ANN401 - the library's
        if batch.prefill_step_size is not None:  # else the model takes its prompts whole, or this one's end is being read
            left = batch._inputs_embeds.shape[1]  # noqa: SLF001
            batch.prefill_step_size = None if self._last is not None and left <= self.piece else self.piece
        if self._last is not None:  # prompts of several lengths end at several places
            self._last.places = 1 + max(batch._right_pad_per_row or [0])  # noqa: SLF001


def _last_places(language_model: nn.Module) -> LastPlaces | None:
    """Return the last norm of *language_model*, put there if it was not; None where there is none to be found."""
    inner = getattr(language_model, "model", None)
    norm = getattr(inner, "norm", None)
    if inner is None or not isinstance(norm, nn.Module):
        return None
    if not isinstance(norm, LastPlaces):
        inner.norm = LastPlaces(norm)
    last: LastPlaces = inner.norm
    return last
