"""The parts of mlx-vlm that we use, and the one door to them.

Its batch generator decodes every row one step, then prefills one piece of one
prompt. This adapter gives each row its own sampling, keeps order and sizes, and
is the only module that knows the generator's private names: ``_prompt_batch``
and, of it, ``prefill_step_size`` and ``_processed_prompt_columns``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import mlx.core as mx
from mlx import nn
from mlx_vlm.apc import APCManager
from mlx_vlm.generate import BatchGenerator
from mlx_vlm.utils import get_model_and_args, load_model

from app.engines.bias import LogitBias
from app.engines.likelihoods import Before, Drawn, Likelihoods
from app.engines.pace import Pace
from app.engines.penalties import penalties_of
from app.engines.protocols import Sampling
from app.engines.sampling import NOT_A_TOKEN, Draw

__all__ = ["TextBatch", "Tick", "has_text_model", "load_lazily", "prefix_cache"]

_GIB: Final = 1024**3
# Prefixes are shared in blocks of this many tokens. Every piece of a prompt looks at every block, and keeping one
# costs an evaluation, so long prompts are kept whole, and shared up to any block all the same.
_BLOCK_TOKENS: Final = 32
_BLOCKS: Final = 1024
_WHOLE_FROM_TOKENS: Final = 1024
# How many are kept whole. Models with recurrent layers cannot be cut at a block: of them whole states are kept,
# one at the end of each prompt and one every so many tokens.
_WHOLE: Final = 16
_STATE_TOKENS: Final = 1024
# Memory that the cache leaves free for others; prompts leave it before that is touched.
_RESERVE_GIB: Final = 0.5


def has_text_model(config: Mapping[str, Any]) -> bool:
    """Return whether mlx-vlm has this architecture, as a model that generates text."""
    try:
        architecture, _ = get_model_and_args(dict(config))
    except (ImportError, KeyError, ValueError):
        return False
    return hasattr(getattr(architecture, "Model", None), "get_input_embeddings")


def load_lazily(directory: Path) -> nn.Module:
    """Return the model with weights that are read when they are evaluated."""
    return load_model(directory, lazy=True)


def prefix_cache(most_bytes: int) -> APCManager:
    """Return a store of prompts read before, at most *most_bytes* large."""
    limits = {
        "memory_max_gb": most_bytes / _GIB,
        "memory_reserve_gb": _RESERVE_GIB,
        "checkpoint_entries": _WHOLE,
        "checkpoint_interval_tokens": _STATE_TOKENS,
    }
    # The one limit that is read from the environment alone.
    os.environ.setdefault("APC_LAYER_MAJOR_MEMORY_MIN_TOKENS", str(_WHOLE_FROM_TOKENS))
    return APCManager(num_blocks=_BLOCKS, block_size=_BLOCK_TOKENS, overrides=limits)


@dataclass(frozen=True, slots=True)
class Tick:
    """What one step did."""

    prefilled: tuple[tuple[int, int], ...]  # (row, tokens of its prompt that came from the prefix cache)
    tokens: tuple[tuple[int, int], ...]  # (row, token); NOT_A_TOKEN where the row's logits were not finite
    drawn: Mapping[int, Drawn] = field(default_factory=dict)  # row -> how likely its token was, for rows that ask


class TextBatch:
    """Rows that decode together while at most one prompt is prefilled beside them.

    A row leaves by itself after an end token, after its last token, or after ``NOT_A_TOKEN``.
    """

    def __init__(self, model: nn.Module, *, slots: int, eos_token_ids: frozenset[int], cache_bytes: int, pace: Pace) -> None:
        self._model = model
        self._pace = pace
        self._samplings: dict[int, tuple[Sampling, int]] = {}  # row -> its parameters, tokens drawn by an earlier attempt
        self._order: list[int] = []  # rows that decode, as the generator has them
        self._incoming: int | None = None
        self._piece: int | None = None  # tokens of the incoming prompt that a step may read, None: as many as the pace allows
        self._draw: Draw | None = None  # of the rows in _order
        self._likelihoods = Likelihoods()
        self._decode_s = 0.0
        self._generator = BatchGenerator(
            model.language_model,
            cast("Any", _stop_rule(eos_token_ids)),
            sampler=cast("Any", self),  # it asks for sample_target, which its signature does not say
            completion_batch_size=slots,
            # One prompt at a time: it may enter as soon as a slot is free, and some models are exact in no other way.
            prefill_batch_size=1,
            prefill_step_size=pace.size,
            compute_logprobs=False,
            stream=mx.default_stream(mx.default_device()),
            apc_manager=prefix_cache(cache_bytes) if cache_bytes else None,
        )
        # All that close() undoes is the wired limit, which belongs to the process (device.settle_device): with
        # several engines, each would restore what it found, in any order.
        self._generator.close()

    @property
    def prefilling(self) -> bool:
        """Whether a prompt is on its way in; no other may be inserted."""
        return bool(self._generator.has_pending_prompts)

    def insert(
        self, tokens: Sequence[int], answered: int, most: int, sampling: Sampling, logprobs: int | None = None, piece: int | None = None
    ) -> int:
        """Begin a row and return its number.

        Args:
            tokens: All that the model must read: the prompt and, of a resumed answer, its tokens so far.
            answered: How many of them are the answer's.
            most: Tokens to draw at most.
            sampling: How to draw them.
            logprobs: Say how likely they were, beside so many of the likeliest; None: do not.
            piece: Tokens of the prompt that a step may read; None: as many as the pace allows.
        """
        self._piece = piece
        ids = list(tokens)
        features = self._model.get_input_embeddings(mx.array([ids])).to_dict()
        # Without a hash of our own the embeddings would be hashed whole, and no two prompts would share a prefix.
        extras = {name: value for name, value in features.items() if value is not None} | {"_apc_semantic_hash": 0}
        prompt = len(ids) - answered
        penalties = penalties_of(sampling, ids[:prompt], ids[prompt:])
        bias = LogitBias(sampling.logit_bias) if sampling.logit_bias else None
        changes = [change for change in (penalties, bias) if change is not None]
        before = Before() if changes and logprobs is not None else None
        processors: list[Callable[[mx.array, mx.array], mx.array]] = [*([before] if before else []), *changes]
        (row,) = self._generator.insert([ids], max_tokens=[most], prompt_kwargs=[extras], logits_processors=[processors])
        self._samplings[row] = (sampling, answered)
        if logprobs is not None:
            self._likelihoods.ask(row, logprobs, before)
        self._incoming = row
        return int(row)

    def step(self) -> Tick:
        """Decode one token of every row, and prefill one piece of the incoming prompt."""
        prefilling = self.prefilling
        before = self._columns()
        self._set_piece()
        seen = self._likelihoods.begin_step()
        started = time.perf_counter()
        prompts, responses = self._generator.next()
        if prefilling:
            # A piece is only queued by next(). Waiting for it keeps slices bounded; without prompts the queued
            # decode step may run on while the caller handles this one's tokens.
            mx.synchronize(self._generator.stream)
        self._learn(time.perf_counter() - started, prefilling=prefilling, piece=self._columns() - before)
        if [response.uid for response in responses] != self._order:
            msg = "the batch generator changed the order of its rows"
            raise RuntimeError(msg)
        drawn = self._likelihoods.end_step(seen, [response.uid for response in responses])
        for response in responses:
            if response.finish_reason is not None:
                self._forget(response.uid)
        prefilled = tuple((int(prompt.uid), int(prompt.cached_tokens)) for prompt in prompts)
        for row, _ in prefilled:
            self._incoming = None
            self._order.append(row)
            self._draw = None
        return Tick(prefilled, tuple((int(response.uid), int(response.token)) for response in responses), drawn)

    def remove(self, row: int) -> None:
        """End *row* now; one that has left already is ignored."""
        if row in self._samplings:
            self._generator.remove(row)
            self._forget(row)

    def limit_prefix_cache(self, most_bytes: int) -> int:
        """Keep at most *most_bytes* of prompts read before, from now on. Return what may be kept: more while some of it is in use."""
        cache = self._generator.apc_manager
        if cache is None:
            return 0
        grows = most_bytes >= cache.memory_max_bytes
        cache.memory_max_bytes = most_bytes
        if grows:
            return most_bytes  # without a look at every block, which takes milliseconds
        cache.prepare_prefill(0)  # drops what is over the limit
        return max(most_bytes, int(cache.resident_bytes()))

    def close(self) -> None:
        """Drop every array: rows, queued steps, prefix cache."""
        if self._generator.apc_manager is not None:
            self._generator.apc_manager.clear()
        del self._generator, self._model
        self._draw = None

    def sample_target(self, logprobs: mx.array, *, row_ids: Sequence[int], positions: Sequence[int]) -> mx.array:
        """Draw tokens: called by the generator, with position 0 for the incoming row and from 1 on for the others."""
        del row_ids  # always zero
        if positions[0] == 0 and self._incoming is not None:
            rows = [self._incoming]
            sampling, answered = self._samplings[self._incoming]
            tokens = Draw([sampling])(logprobs, [answered])
        else:
            rows = self._order
            if self._draw is None:
                self._draw = Draw([self._samplings[row][0] for row in rows])
            tokens = self._draw(logprobs, [place + self._samplings[row][1] for row, place in zip(rows, positions, strict=True)])
        self._likelihoods.look(rows, logprobs, tokens)
        return tokens

    def _forget(self, row: int) -> None:
        del self._samplings[row]
        self._likelihoods.forget(row)
        if row == self._incoming:
            self._incoming = None
        else:
            self._order.remove(row)
            self._draw = None

    def _set_piece(self) -> None:
        size = self._pace.size if self._piece is None else min(self._pace.size, self._piece)
        self._generator.prefill_step_size = size
        prompt = self._generator._prompt_batch  # noqa: SLF001 - see the module's docstring
        if prompt is not None and prompt.prefill_step_size is not None:
            prompt.prefill_step_size = size

    def _columns(self) -> int:
        prompt = self._generator._prompt_batch  # noqa: SLF001 - see the module's docstring
        return 0 if prompt is None else int(prompt._processed_prompt_columns)  # noqa: SLF001

    def _learn(self, seconds: float, *, prefilling: bool, piece: int) -> None:
        """Learn from a step: what decoding takes from one without a prompt, what a piece takes from the rest."""
        if not prefilling:
            self._decode_s = 0.8 * self._decode_s + 0.2 * seconds if self._decode_s else seconds
        elif piece > 0:  # the last step of a prompt reads one token and keeps the prefix: it teaches nothing
            self._pace.record(piece, max(seconds - (self._decode_s if self._order else 0.0), 0.25 * seconds))


def _stop_rule(eos_token_ids: frozenset[int]) -> SimpleNamespace:
    """Return the little of a processor that the generator asks for: which tokens end a row."""
    ends = eos_token_ids | {NOT_A_TOKEN}

    class Ends:
        def add_eos_token_ids(self, _more: object) -> None:
            """Take none: ends are known from the start."""

        def __call__(self, token: int) -> bool:
            return token in ends

    return SimpleNamespace(stopping_criteria=Ends())
