"""Keys and values of texts that were read, shared token by token: a radix tree, as in SGLang's RadixAttention.

A node holds the keys and values of a run of tokens; texts that begin alike share
the nodes of what they have in common. All is copied: on the way in, so that a
node never keeps a batch alive, and on the way out, so that a batch may grow
what it was given. Past the bound, the ends of the texts that were used least
recently leave first.

For models alone whose every layer keeps keys and values of every token, since
any beginning of such a text is worth keeping by itself. Not for several threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import mlx.core as mx
import numpy as np
import numpy.typing as npt

__all__ = ["Arrays", "PrefixTree"]

# Shape (1, heads, tokens, size) each: keys and values of every layer, in any order that stays the same.
Arrays = Sequence[mx.array]

_TOKENS_AXIS: Final = 2
# Every node has two arrays a layer, and Metal allows about half a million of them to a process.
_MOST_NODES: Final = 1024


class _Node:
    """A run of tokens, and what may follow it."""

    def __init__(self, tokens: npt.NDArray[np.int64], arrays: list[mx.array], parent: _Node | None) -> None:
        self.tokens = tokens
        self.arrays = arrays
        self.parent: _Node = parent or self  # the root is its own
        self.children: dict[int, _Node] = {}  # by their first token
        self.used = 0

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)


class PrefixTree:
    """Texts that were read, at most :attr:`most_bytes` of them.

    Attributes:
        most_bytes: The bound; see :meth:`shrink`.
        nbytes: Bytes held.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.nbytes = 0
        self._root = _Node(np.empty(0, dtype=np.int64), [], None)
        self._nodes = 0
        self._clock = 0

    def match(self, tokens: Sequence[int]) -> int:
        """Return how many of the first of *tokens* are held."""
        return sum(length for _, length in self._walk(np.asarray(tokens, dtype=np.int64)))

    def take(self, tokens: Sequence[int]) -> list[list[mx.array]]:
        """Return what is held of the first of *tokens*, run by run, in arrays that are the tree's own: to be copied and not kept."""
        self._clock += 1
        runs = []
        for node, length in self._walk(np.asarray(tokens, dtype=np.int64)):
            node.used = self._clock
            runs.append(node.arrays if length == len(node.tokens) else [array[..., :length, :] for array in node.arrays])
        return runs

    def keep(self, tokens: Sequence[int], arrays: Arrays) -> None:
        """Hold *tokens*, as far as they fit: of a text larger than the bound, its beginning.

        Args:
            tokens: The text.
            arrays: Its keys and values, for exactly these tokens. They are copied at once.

        Raises:
            ValueError: They are of more tokens, or of fewer.
        """
        if any(array.shape[_TOKENS_AXIS] != len(tokens) for array in arrays):
            message = f"{len(tokens)} tokens do not have the keys of {[array.shape[_TOKENS_AXIS] for array in arrays]}"
            raise ValueError(message)
        bytes_per_token = sum(array.nbytes for array in arrays) / max(1, len(tokens))
        wanted = np.asarray(tokens, dtype=np.int64)[: int(self.most_bytes / max(1.0, bytes_per_token))]
        self._clock += 1
        node, held = self._root, 0
        for node, length in self._walk(wanted):
            node.used = self._clock
            held += length
        if held == len(wanted):
            return
        if node is not self._root and length < len(node.tokens):
            self._split(node, length)
        self.shrink(self.most_bytes - int(bytes_per_token * (len(wanted) - held)))
        self._add(_Node(wanted[held:], _copied(arrays, held, len(wanted)), node))

    def shrink(self, most_bytes: int) -> int:
        """Drop the ends of texts, least recently used first, until at most *most_bytes* are held. Return how many bytes that freed."""
        before = self.nbytes
        while self._nodes and (self.nbytes > most_bytes or self._nodes >= _MOST_NODES):
            self._drop(min((node for node in self._all() if not node.children), key=lambda leaf: leaf.used))
        return before - self.nbytes

    def clear(self) -> None:
        """Drop everything."""
        self._root.children.clear()
        self.nbytes = self._nodes = 0

    def _walk(self, tokens: npt.NDArray[np.int64]) -> Iterator[tuple[_Node, int]]:
        """Follow *tokens* down: each node on the way, and how many of its tokens are theirs."""
        node, place = self._root, 0
        while place < len(tokens):
            child = node.children.get(int(tokens[place]))
            if child is None:
                return
            length = _common(child.tokens, tokens[place:])
            yield child, length
            if length < len(child.tokens):
                return
            node, place = child, place + length

    def _split(self, node: _Node, length: int) -> None:
        """Cut *node* after *length* of its tokens: it keeps the first, a new child has the others."""
        rest = _Node(node.tokens[length:], _copied(node.arrays, length, len(node.tokens)), node)
        rest.children, rest.used = node.children, node.used
        for child in rest.children.values():
            child.parent = rest
        self.nbytes -= node.nbytes
        node.arrays = _copied(node.arrays, 0, length)
        node.tokens = node.tokens[:length]
        node.children = {}
        self.nbytes += node.nbytes
        self._add(rest, used=rest.used)

    def _add(self, node: _Node, used: int | None = None) -> None:
        node.parent.children[int(node.tokens[0])] = node
        node.used = self._clock if used is None else used
        self._nodes += 1
        self.nbytes += node.nbytes

    def _drop(self, leaf: _Node) -> None:
        del leaf.parent.children[int(leaf.tokens[0])]
        self._nodes -= 1
        self.nbytes -= leaf.nbytes

    def _all(self) -> Iterator[_Node]:
        pending = list(self._root.children.values())
        while pending:
            node = pending.pop()
            yield node
            pending.extend(node.children.values())


def _common(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> int:
    """Return how many tokens both begin with."""
    shortest = min(len(one), len(other))
    differs = np.flatnonzero(one[:shortest] != other[:shortest])
    return int(differs[0]) if len(differs) else shortest


def _copied(arrays: Arrays, start: int, stop: int) -> list[mx.array]:
    """Return the tokens from *start* to *stop* in buffers of their own: a slice alone would keep the whole array alive."""
    copies = [array[..., start:stop, :] * 1 for array in arrays]
    mx.eval(copies)
    return copies
