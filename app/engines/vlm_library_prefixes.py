"""What mlx-vlm's batch generator asks of a prefix cache, answered for two kinds of model.

Where every layer keeps keys and values of every token, any beginning of a text
can be shared: :class:`SharedPrefixes`, over our own tree. Layers with a window or
a recurrent state cannot be cut at any token: of those models the library's own
cache keeps whole states, at the end of each prompt and every so many tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import mlx.core as mx
from mlx import nn
from mlx_vlm.apc import APCManager, layer_kv_for_apc
from mlx_vlm.models.cache import BatchKVCache, KVCache, make_prompt_cache

from app.engines.device import headroom_bytes
from app.engines.prefix_tree import PrefixTree

__all__ = ["SharedPrefixes", "keeps_every_token", "state_cache"]

_GIB: Final = 1024**3
# How many whole states are kept, and how far apart those of one prompt are.
_STATES: Final = 16
_STATE_TOKENS: Final = 1024
# Memory that the cache leaves free for others; prompts leave it before that is touched.
_RESERVE_BYTES: Final = _GIB // 2
# Joining a few tokens to a new prompt costs more than reading them.
_LEAST_SHARED_TOKENS: Final = 8


def keeps_every_token(language_model: nn.Module) -> bool:
    """Return whether every layer keeps keys and values of every token."""
    return all(type(layer) is KVCache for layer in make_prompt_cache(language_model))


def state_cache(most_bytes: int) -> APCManager:
    """Return the library's store of prompts read before, at most *most_bytes* large."""
    limits = {
        "memory_max_gb": most_bytes / _GIB,
        "memory_reserve_gb": _RESERVE_BYTES / _GIB,
        "checkpoint_entries": _STATES,
        "checkpoint_interval_tokens": _STATE_TOKENS,
    }
    # No blocks: whole states are all that it is used for.
    return APCManager(num_blocks=0, overrides=limits)


class SharedPrefixes:
    """The library's cache manager and its coordinator in one, over a tree of our own."""

    is_checkpoint = False
    legacy_mode = "block"

    def __init__(self, most_bytes: int) -> None:
        self.tree = PrefixTree(most_bytes)

    def limit(self, most_bytes: int) -> None:
        """Hold at most *most_bytes* from now on."""
        self.tree.most_bytes = most_bytes
        self.tree.shrink(most_bytes)

    def clear(self) -> None:
        """Drop everything."""
        self.tree.clear()

    def shared(self, tokens: Sequence[int]) -> int:
        """Return how many of the first of *tokens* need not be read. One at least must be: it gives the first logits."""
        length = self.tree.match(tokens[:-1])
        return length if length >= _LEAST_SHARED_TOKENS else 0

    def keep(self, tokens: Sequence[int], prompt_cache: Sequence[Any], row: int) -> None:
        """Keep the keys and values of *tokens*, which are those of *row* in *prompt_cache*."""
        self._leave_room()
        arrays = [array for layer in prompt_cache for array in layer_kv_for_apc(layer, batch_idx=row)]
        self.tree.keep(tokens, [array for array in arrays if array is not None])

    def lookup(self, tokens: Sequence[int], *, extra_hash: int, **_about_media: object) -> dict[str, Any] | None:
        """Say how much of a prompt is held, None if nothing: tokens do not tell pictures apart, so none with some is."""
        length = 0 if extra_hash else self.shared(tokens)
        if not length:
            return None
        return {"prefix_len": length, "tokens": tokens[:length], "missing": len(tokens) - length, "extra_hash": 0}

    def merge_rows(self, picks: Sequence[dict[str, Any] | None], lengths: Sequence[int], **_quantised: object) -> tuple[list[Any], int]:
        """Return caches that begin with what :meth:`lookup` found for each row, and the most tokens that it found."""
        held = [self.tree.take(pick["tokens"]) if pick else [] for pick in picks]
        wanted = max(lengths) + max(pick["missing"] for pick in picks if pick)
        places = -(-wanted // KVCache.step) * KVCache.step
        arrays = range(len(next(runs for runs in held if runs)[0]))
        joined = [_joined([[run[array] for run in runs] for runs in held], lengths, places) for array in arrays]
        return [_cache(keys, values, list(lengths)) for keys, values in zip(joined[::2], joined[1::2], strict=True)], max(lengths)

    def commit(self, prompt_cache: Sequence[Any], tokens: Sequence[int], *, batch_idx: int, extra_hash: int, **_blocks: object) -> bool:
        """Keep a prompt that was read, unless it has pictures."""
        if not extra_hash:
            self.keep(tokens, prompt_cache, batch_idx)
        return True

    def prepare_prefill(self, *_lengths: object, **_sizes: object) -> None:
        """Make way for a prompt."""
        self._leave_room()

    def observe_cache(self, *_cache: object, **_sizes: object) -> None:
        """Learn nothing: what a prompt takes while it is read is known to those who let it in."""

    def checkpoint_len(self, *_tokens: object) -> int:
        """Return 0: no state is kept amid a prompt."""
        return 0

    def checkpoint_lengths(self, *_tokens: object) -> list[int]:
        """Return nothing, likewise."""
        return []

    def release(self, blocks: object) -> None:
        """Release nothing: rows have copies."""

    def _leave_room(self) -> None:
        lacking = _RESERVE_BYTES - headroom_bytes()
        if lacking > 0 and self.tree.shrink(max(0, self.tree.nbytes - lacking)):
            mx.clear_cache()


def _joined(rows: Sequence[Sequence[mx.array]], lengths: Sequence[int], places: int) -> mx.array:
    """Return the runs of each row end to end, right-justified, with room to grow: shape (rows, heads, *places*, size)."""
    sample = next(run for runs in rows for run in runs)
    longest = max(lengths)

    def nothing(count: int) -> list[mx.array]:
        return [mx.zeros((1, sample.shape[1], count, sample.shape[3]), dtype=sample.dtype)] if count else []

    whole = [
        mx.concatenate([*nothing(longest - length), *runs, *nothing(places - longest)], axis=2)
        for runs, length in zip(rows, lengths, strict=True)
    ]
    return whole[0] if len(whole) == 1 else mx.concatenate(whole, axis=0)


def _cache(keys: mx.array, values: mx.array, lengths: list[int]) -> Any:  # noqa: ANN401 - the library declares its fields as None
    longest = max(lengths)
    if len(lengths) == 1:
        one: Any = KVCache()
        one.keys, one.values, one.offset = keys, values, longest
        return one
    several: Any = BatchKVCache([longest - length for length in lengths])
    several.keys, several.values = keys, values
    several.offset = mx.array(lengths)
    several._idx = longest  # noqa: SLF001 - where the next token goes: the rest is room
    return several
