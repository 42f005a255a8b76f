"""The tree of what was read: it gives back what it was given, shares what is alike, and keeps its bound."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engines.prefix_tree import PrefixTree

PER_TOKEN = (3 + 2) * 4  # bytes, of the arrays below

# Few tokens, so that many texts begin alike.
texts = st.lists(st.integers(0, 2), min_size=1, max_size=12)


def arrays(tokens: Sequence[int]) -> list[mx.array]:
    """Return keys and values that depend on every token up to their own, as a model's do."""
    sums = mx.cumsum(mx.array(list(tokens), dtype=mx.float32) + 1) if tokens else mx.zeros((0,))
    return [mx.broadcast_to(sums[None, None, :, None], (1, heads, len(tokens), 1)) for heads in (3, 2)]


def taken(tree: PrefixTree, tokens: Sequence[int]) -> list[mx.array]:
    runs = tree.take(tokens)
    return [mx.concatenate([run[place] for run in runs], axis=2) for place in range(2)] if runs else arrays(())


def same(one: Sequence[mx.array], other: Sequence[mx.array]) -> bool:
    return all(a.shape == b.shape and bool(mx.all(a == b).item()) for a, b in zip(one, other, strict=True))


def common(one: Sequence[int], other: Sequence[int]) -> int:
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@settings(deadline=None)
@given(st.lists(texts, max_size=8), texts)
def test_of_a_text_as_much_is_held_as_any_kept_text_has_of_it(kept: list[list[int]], asked: list[int]) -> None:
    tree = PrefixTree(2**20)
    for text in kept:
        tree.keep(text, arrays(text))
    length = tree.match(asked)
    assert length == max((common(text, asked) for text in kept), default=0)
    assert same(taken(tree, asked), arrays(asked[:length]))
    beginnings = {tuple(text[:end]) for text in kept for end in range(1, len(text) + 1)}
    assert tree.nbytes == len(beginnings) * PER_TOKEN


@settings(deadline=None)
@given(st.lists(texts, max_size=12), st.integers(0, 20))
def test_the_bound_holds_whatever_comes_and_what_is_left_is_right(kept: list[list[int]], room: int) -> None:
    tree = PrefixTree(room * PER_TOKEN)
    for text in kept:
        tree.keep(text, arrays(text))
        assert tree.nbytes <= room * PER_TOKEN
        assert tree.match(text) == min(len(text), room)
        assert same(taken(tree, text), arrays(text[:room]))
    tree.shrink(0)
    assert tree.nbytes == 0


def test_what_was_used_least_recently_leaves_first_and_its_end_before_its_beginning() -> None:
    tree = PrefixTree(2**20)
    for text in ([1, 1, 1, 1], [2, 2, 2, 2], [1, 1, 5, 5]):
        tree.keep(text, arrays(text))
    tree.take([1, 1, 1, 1])
    assert tree.shrink(tree.nbytes - 1) == 4 * PER_TOKEN
    assert [tree.match(text) for text in ([1, 1, 1, 1], [2, 2, 2, 2], [1, 1, 5, 5])] == [4, 0, 4]
    tree.shrink(tree.nbytes - 1)
    assert [tree.match(text) for text in ([1, 1, 1, 1], [1, 1, 5, 5])] == [4, 2]


@pytest.mark.parametrize("heads", [1, 2])
def test_what_is_held_keeps_nothing_else_alive(heads: int) -> None:
    tree = PrefixTree(2**20)
    before = active_bytes()
    tree.keep([1, 2, 3], [mx.arange(heads * 2**19).reshape(1, heads, 2**16, 8)[..., 100:103, :]])
    tree.keep([1, 2, 4], [mx.arange(heads * 2**19).reshape(1, heads, 2**16, 8)[..., 200:203, :]])
    assert active_bytes() - before < 2**16
    tree.shrink(0)
    assert active_bytes() <= before


def test_keys_of_another_number_of_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="3 tokens do not have the keys of"):
        PrefixTree(2**20).keep([1, 2, 3], arrays([1, 2]))


def active_bytes() -> int:
    gc.collect()
    mx.synchronize()
    mx.clear_cache()
    return int(mx.get_active_memory())
