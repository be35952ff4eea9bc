"""Keys and values of what was read before, for prompts that begin the same way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import torch

BLOCK = 32
"""Tokens that are kept, found and thrown away together."""


_Key = tuple[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some tokens after a certain beginning.

    Args:
        number: Its own; blocks that follow are found by it.
        states: Keys and values; shape (2, layers, key-value heads, BLOCK, dimension).
    """

    number: int
    states: torch.Tensor


class PrefixCache:
    """A tree of blocks of tokens; the least recently used leave first.

    Blocks are found by their parent and by the tokens themselves, not by a hash of them, so that
    no prompt can get another one's states.

    Args:
        capacity: Bytes of keys and values at most; 0 keeps nothing.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self._blocks: OrderedDict[_Key, Block] = OrderedDict()
        self._numbers = count(1)

    def longest(self, tokens: Sequence[int], limit: int) -> list[Block]:
        """Return the blocks of the longest known beginning.

        Args:
            tokens: The prompt.
            limit: Tokens of it that may be left out of computation.
        """
        path = self._path(tokens, limit)
        self._touch([key for key, _ in path])
        return [block for _, block in path]

    def add(self, tokens: Sequence[int], states: Callable[[int, int], torch.Tensor]) -> None:
        """Keep the whole blocks of what was read.

        Args:
            tokens: What was read.
            states: Returns the keys and values of tokens from one number up to another.
        """
        whole = len(tokens) // BLOCK * BLOCK
        path = self._path(tokens, whole)
        start = len(path) * BLOCK
        if start == whole or not self.capacity:
            return
        keys = [key for key, _ in path]
        parent = path[-1][1].number if path else 0
        fresh = states(start, whole)
        for offset in range(0, whole - start, BLOCK):
            key = (parent, tuple(tokens[start + offset : start + offset + BLOCK]))
            # In memory of its own, which is free as soon as the block is thrown away.
            block = Block(next(self._numbers), fresh[:, :, :, offset : offset + BLOCK].clone())
            self._blocks[key] = block
            self.size += block.states.nbytes
            keys.append(key)
            parent = block.number
        self._touch(keys)
        while self.size > self.capacity:
            _, oldest = self._blocks.popitem(last=False)
            self.size -= oldest.states.nbytes

    def _path(self, tokens: Sequence[int], limit: int) -> list[tuple[_Key, Block]]:
        path: list[tuple[_Key, Block]] = []
        parent = 0
        for start in range(0, limit - BLOCK + 1, BLOCK):
            key = (parent, tuple(tokens[start : start + BLOCK]))
            block = self._blocks.get(key)
            if block is None:
                break
            path.append((key, block))
            parent = block.number
        return path

    def _touch(self, keys: Sequence[_Key]) -> None:
        """Mark blocks as used; each outlives those that follow it and are found through it."""
        for key in reversed(keys):
            self._blocks.move_to_end(key)
