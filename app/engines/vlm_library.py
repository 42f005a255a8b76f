"""The parts of mlx-vlm that we use, and the one door to them.

Its batch generator decodes every row one step, then prefills one piece of one
prompt. This adapter gives each row its own sampling and keeps order and sizes;
what we change of the generator itself is in :mod:`app.engines.vlm_library_generator`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import mlx.core as mx
from mlx import nn
from mlx_vlm.utils import get_model_and_args, load_model

from app.engines.bias import LogitBias
from app.engines.grammar import GrammarMask
from app.engines.holding import FREE, Held
from app.engines.likelihoods import Before, Drawn, Likelihoods
from app.engines.pace import Pace
from app.engines.penalties import penalties_of
from app.engines.protocols import Sampling
from app.engines.sampling import NOT_A_TOKEN, Draw
from app.engines.seeing import Picture
from app.engines.vlm_library_generator import Generator
from app.engines.vlm_library_pictures import Sight, pictures_hash

__all__ = ["TextBatch", "Tick", "has_text_model", "load_lazily"]

# Families whose prompts may be read together, since each is then read as it is alone: tests/conformance/test_company.py
# shows it of each. Others' positions or states depend on the padding.
_EXACT_TOGETHER: Final = frozenset({"llama", "qwen3"})
# So many tokens of short prompts may be read together even when the pace is below that, as it is after long contexts.
_TOGETHER_TOKENS: Final = 192
_SHORT_TOKENS: Final = 256
# Shorter texts are read again as quickly as they are kept: of them the prompts alone are.
_KEPT_WITH_ANSWER_TOKENS: Final = 128


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


@dataclass(frozen=True, slots=True)
class Tick:
    """What one step did."""

    prefilled: tuple[tuple[int, int], ...]  # (row, tokens of its prompt that came from the prefix cache)
    tokens: tuple[tuple[int, int], ...]  # (row, token); NOT_A_TOKEN where the row's logits were not finite
    drawn: Mapping[int, Drawn] = field(default_factory=dict)  # row -> how likely its token was, for rows that ask
    gave_out: Mapping[int, str] = field(default_factory=dict)  # row -> why its grammar let no token through, where it is that


@dataclass(slots=True)
class _Row:
    """One request in the batch."""

    sampling: Sampling
    answered: int  # tokens that an earlier attempt drew
    missing: int  # tokens that it may still have
    tokens: list[int]  # all that the model has read, or is reading, of it
    piece: int | None  # of its prompt and of those read with it, what a step may read
    sees: bool = False  # its prompt has pictures, which its tokens do not tell apart
    mask: GrammarMask | None = None

    def take(self, token: int) -> bool:
        """Add *token*; return whether it is the last that the row may have."""
        self.tokens.append(token)
        self.missing -= 1
        return self.missing <= 0


class TextBatch:
    """Rows that decode together while one prompt, or several short ones, are prefilled beside them.

    A row leaves by itself after an end token, after its last token, or after ``NOT_A_TOKEN``.
    """

    def __init__(
        self, model: nn.Module, *, slots: int, eos_token_ids: frozenset[int], cache_bytes: int, pace: Pace, sight: Sight | None = None
    ) -> None:
        self._model = model
        self._sight = sight
        self._pace = pace
        self._ends = eos_token_ids | {NOT_A_TOKEN}
        self._rows: dict[int, _Row] = {}
        self._order: list[int] = []  # rows that decode, as the generator has them
        self._incoming: list[int] = []
        self._together = getattr(model.config, "model_type", None) in _EXACT_TOGETHER
        self._draw: Draw | None = None  # of the rows in _order
        self._likelihoods = Likelihoods()
        self._decode_s = 0.0
        self._generator = Generator(
            model.language_model,
            piece=pace.size,
            cache_bytes=cache_bytes,
            sampler=self,  # it asks for sample_target, which its signature does not say
            completion_batch_size=slots,
            compute_logprobs=False,
            stream=mx.default_stream(mx.default_device()),
        )

    @property
    def prefilling(self) -> bool:
        """Whether a prompt is on its way in."""
        return bool(self._generator.has_pending_prompts)

    @property
    def reading(self) -> Sequence[int]:
        """The rows whose prompts are on their way in, or rest half read."""
        return [*self._generator.incoming, *self._generator.aside]

    @property
    def aside(self) -> Sequence[int]:
        """Those of them that rest."""
        return self._generator.aside

    def set_aside(self) -> None:
        """Let the prompts on their way in rest until those that are inserted next are read. Not while some rest already."""
        self._generator.set_aside()

    def take_up(self) -> None:
        """Have the next step read what rests, unless there is something to be read before it."""
        self._generator.take_up()

    def takes(self, prompts: Sequence[Sequence[int]], piece: int | None = None) -> bool:
        """Return whether *prompts* may all be inserted before the next step: any one, or several that make a piece.

        Args:
            prompts: All that the model must read of each.
            piece: Tokens of them together that a step may read; None: as many as the pace allows.
        """
        if self.prefilling:
            return False
        if len(prompts) <= 1:
            return True
        unread = [self._generator.unread(tokens) for tokens in prompts]
        shared = max(len(tokens) - left for tokens, left in zip(prompts, unread, strict=True))
        if shared + max(unread) > max(len(tokens) for tokens in prompts):
            return False  # what is held of one stands before what is unread of another: longer rows than anybody reserved
        short = all(len(tokens) <= _SHORT_TOKENS for tokens in prompts)
        most = max(self._pace.size, _TOGETHER_TOKENS if short else 0)
        most = most if piece is None else min(most, piece)
        return self._together and max(unread) <= self._pace.size and max(unread) * len(prompts) <= most

    def insert(
        self,
        tokens: Sequence[int],
        answered: int,
        most: int,
        sampling: Sampling,
        logprobs: int | None = None,
        piece: int | None = None,
        pictures: Sequence[Picture] = (),
        held: Held = FREE,
    ) -> int:
        """Begin a row and return its number.

        Args:
            tokens: All that the model must read: the prompt and, of a resumed answer, its tokens so far.
            answered: How many of them are the answer's.
            most: Tokens to draw at most.
            sampling: How to draw them.
            logprobs: Say how likely they were, beside so many of the likeliest; None: do not.
            piece: Tokens of this prompt, and of those inserted with it, that a step may read; None: as many as the pace allows.
            pictures: What the prompt has places for; all of them are encoded.
            held: What its answer is held to.
        """
        ids = list(tokens)
        # Without a hash of our own the embeddings would be hashed whole, and no two prompts would share a prefix.
        extras = self._embedded(ids, pictures) | {"_apc_semantic_hash": pictures_hash(pictures)}
        prompt = len(ids) - answered
        penalties = penalties_of(sampling, ids[:prompt], ids[prompt:])
        bias = LogitBias(sampling.logit_bias) if sampling.logit_bias else None
        mask = held.mask(ids[prompt:])
        changes = [change for change in (penalties, bias, mask, held.limit(ids[prompt:])) if change is not None]
        before = Before() if changes and logprobs is not None else None
        processors: list[Callable[[mx.array, mx.array], mx.array]] = [*([before] if before else []), *changes]
        # One more than the row may have: it leaves when we say so, and its keys and values can be kept before it does.
        (row,) = self._generator.insert([ids], max_tokens=[most + 1], prompt_kwargs=[extras], logits_processors=[processors])
        self._rows[row] = _Row(sampling, answered, most, ids, piece, bool(pictures), mask)
        if logprobs is not None:
            self._likelihoods.ask(row, logprobs, before)
        return int(row)

    def step(self) -> Tick:
        """Decode one token of every row, and prefill one piece of the incoming prompts."""
        self._incoming = self._generator.incoming
        rows = len(self._incoming)
        before = self._generator.columns
        self._set_piece()
        seen = self._likelihoods.begin_step()
        started = time.perf_counter()
        prompts, responses = self._generator.next()
        if rows:
            # A piece is only queued by next(). Waiting for it keeps slices bounded; without prompts the queued
            # decode step may run on while the caller handles this one's tokens.
            mx.synchronize(self._generator.stream)
        read = max((int(prompt.prompt_tokens) - int(prompt.cached_tokens) for prompt in prompts), default=self._generator.columns)
        self._learn(time.perf_counter() - started, prefilling=rows > 0, piece=(read - before) * rows)
        if [response.uid for response in responses] != self._order:
            msg = "the batch generator changed the order of its rows"
            raise RuntimeError(msg)
        drawn = self._likelihoods.end_step(seen, [response.uid for response in responses])
        tokens = [(int(response.uid), int(response.token)) for response in responses]
        masks = {row: mask for row, token in tokens if token == NOT_A_TOKEN and (mask := self._rows[row].mask) is not None}
        self._leave([row for row, token in tokens if self._rows[row].take(token) or token in self._ends])
        prefilled = tuple((int(prompt.uid), int(prompt.cached_tokens)) for prompt in prompts)
        for row, _ in prefilled:
            self._order.append(row)
            self._draw = None
        return Tick(prefilled, tuple(tokens), drawn, {row: mask.error for row, mask in masks.items() if mask.error is not None})

    def remove(self, row: int, *, keep: bool = False) -> None:
        """End *row* now, and *keep* what was read of it if asked to; one that has left already is ignored."""
        if row not in self._rows:
            return
        if keep and row in self._order:
            self._leave([row])
        else:
            self._generator.remove(row)
            self._forget(row)

    def limit_prefix_cache(self, most_bytes: int) -> int:
        """Keep at most *most_bytes* of prompts read before, from now on. Return what may be kept: more while some of it is in use."""
        return self._generator.limit_prefix_cache(most_bytes)

    def close(self) -> None:
        """Drop every array: rows, queued steps, prefix cache."""
        if self._generator.apc_manager is not None:
            self._generator.apc_manager.clear()
        del self._generator, self._model, self._sight
        self._draw = None

    def sample_target(self, logprobs: mx.array, *, row_ids: Sequence[int], positions: Sequence[int]) -> mx.array:
        """Draw tokens: called by the generator, with position 0 for the incoming rows and from 1 on for the others."""
        del row_ids  # always zero
        if positions[0] == 0:
            rows = self._incoming
            draw = Draw([self._rows[row].sampling for row in rows])
        else:
            rows = self._order
            draw = self._draw = self._draw or Draw([self._rows[row].sampling for row in rows])
        tokens = draw(logprobs, [place + self._rows[row].answered for row, place in zip(rows, positions, strict=True)])
        self._likelihoods.look(rows, logprobs, tokens)
        return tokens

    def _leave(self, rows: Sequence[int]) -> None:
        """End *rows*, which decode, and keep what is worth it for prompts that go on from there."""
        for row in rows:
            tokens = self._rows[row].tokens
            worth_it = len(tokens) >= _KEPT_WITH_ANSWER_TOKENS and NOT_A_TOKEN not in tokens[-1:]
            if worth_it and not self._rows[row].sees:
                self._generator.keep(row, tokens)
        if rows:
            self._generator.leave(rows)
        for row in rows:
            self._forget(row)

    def _embedded(self, ids: list[int], pictures: Sequence[Picture]) -> dict[str, Any]:
        """Return what the generator is told of a prompt, its embeddings among it."""
        if self._sight is not None:
            return self._sight.embed(self._model, ids, pictures)
        features = self._model.get_input_embeddings(mx.array([ids])).to_dict()
        return {name: value for name, value in features.items() if value is not None}

    def _forget(self, row: int) -> None:
        del self._rows[row]
        self._likelihoods.forget(row)
        if row in self._order:
            self._order.remove(row)
            self._draw = None

    def _set_piece(self) -> None:
        """Bound what the next step reads of each incoming prompt. More is unread than they came with if the prefix cache gave way."""
        together = max(self._pace.size, _TOGETHER_TOKENS)
        pieces = [piece for row in self._incoming if (piece := self._rows[row].piece) is not None]
        together = min([together, *pieces])
        self._generator.set_piece(max(1, min(self._pace.size, together // max(1, len(self._incoming)))))

    def _learn(self, seconds: float, *, prefilling: bool, piece: int) -> None:
        """Learn from a step: what decoding takes from one without a prompt, what a piece takes from the rest."""
        if prefilling and piece > 1:  # a single token says nothing of a piece
            self._pace.record(piece, max(seconds - (self._decode_s if self._order else 0.0), 0.25 * seconds))
        elif self._order and not prefilling:
            self._decode_s = 0.8 * self._decode_s + 0.2 * seconds if self._decode_s else seconds
