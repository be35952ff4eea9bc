"""Keys and values of a batch, with room to grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from transformers.cache_utils import Cache, DynamicLayer

from rag.models.shared_contexts import SharedContexts, put_together

# New columns that a full buffer gets: a copy of it is spread over that many steps.
_ROOM = 128


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer in buffers that are larger than what they hold.

    A step writes one column, where concatenation would copy all of them; a row that leaves is
    replaced by the last one, where selection would copy all others.
    """

    def fill(self, keys: torch.Tensor, values: torch.Tensor, columns: int) -> None:
        """Take over buffers whose first columns are in use."""
        self.lazy_initialization(keys, values)
        self._key_buffer, self.keys = keys, keys[:, :, :columns]
        self._value_buffer, self.values = values, values[:, :, :columns]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append columns and return all of them, as views."""
        if not self.is_initialized:
            self.fill(key_states[:, :, :0], value_states[:, :, :0], 0)
        old = self.keys.shape[2]
        new = old + key_states.shape[2]
        rows = key_states.shape[0]
        if new > self._key_buffer.shape[2]:
            self._key_buffer = _enlarged(self.keys, new + _ROOM)
            self._value_buffer = _enlarged(self.values, new + _ROOM)
        self.keys = self._key_buffer[:rows, :, :new]
        self.values = self._value_buffer[:rows, :, :new]
        self.keys[:, :, old:] = key_states
        self.values[:, :, old:] = value_states
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Move rows to the front; a row that moves must come from behind all that stay."""
        moves = [(to, row) for to, row in enumerate(indices.tolist()) if to != row]
        for to, row in moves:
            self.keys[to] = self.keys[row]
            self.values[to] = self.values[row]
        self.keys = self.keys[: len(indices)]
        self.values = self.values[: len(indices)]

    def forget(self, columns: int) -> None:
        """Let go of the first columns."""
        self._key_buffer, self.keys = self._key_buffer[:, :, columns:], self.keys[:, :, columns:]
        self._value_buffer = self._value_buffer[:, :, columns:]
        self.values = self.values[:, :, columns:]


def _enlarged(states: torch.Tensor, columns: int) -> torch.Tensor:
    rows, heads, old, dimension = states.shape
    buffer = states.new_empty(rows, heads, columns, dimension)
    buffer[:, :, :old] = states
    return buffer


@dataclass
class State:
    """What the rows of a batch have read so far.

    Columns of a row that hold no token, to the left of its tokens or between them, are masked.

    Args:
        cache: Keys and values of every layer.
        mask: 1 for tokens, 0 elsewhere; shape (rows, columns).
        skips: How far the position of what a row reads next is past the number of its tokens;
            shape (rows,).
        contexts: Further keys and values, which rows see but do not own.
    """

    cache: Cache
    mask: torch.Tensor
    skips: torch.Tensor
    contexts: SharedContexts | None = None

    @property
    def columns(self) -> int:
        """Tokens and padding of a row."""
        return int(self.mask.shape[1])

    def drop(self, finished: Sequence[int]) -> list[int]:
        """Drop rows, and return for each row that is left which one it was.

        The last rows take the places of those dropped.
        """
        rows = list(range(self.mask.shape[0]))
        for row in sorted(finished, reverse=True):
            rows[row] = rows[-1]
            rows.pop()
        index = torch.tensor(rows, dtype=torch.long, device=self.mask.device)
        self.cache.batch_select_indices(index)
        self.mask, self.skips = self.mask[index], self.skips[index]
        self.contexts = self.contexts and self.contexts.of_rows(rows)
        self._trim()
        return rows

    def _trim(self) -> None:
        """Let go of the columns on the left in which no row has a token any more."""
        padding = int((self.mask.cumsum(-1).amax(0) == 0).sum()) if len(self.mask) else 0
        growing = [layer for layer in self.cache.layers if isinstance(layer, GrowingLayer)]
        if padding and len(growing) == len(self.cache.layers):
            for layer in growing:
                layer.forget(padding)
            self.mask = self.mask[:, padding:]

    def slice(self, row: int, first: int, last: int) -> torch.Tensor:
        """Return keys and values of a row's tokens from one number up to another, as a copy.

        Returns:
            Shape (2, layers, key-value heads, tokens, dimension).
        """
        columns = self.mask[row].nonzero()[first:last, 0]
        layers = self.cache.layers
        keys = torch.stack([layer.keys[row].index_select(1, columns) for layer in layers])
        values = torch.stack([layer.values[row].index_select(1, columns) for layer in layers])
        return torch.stack((keys, values))


def nothing_read(rows: int, cache: Cache, device: str) -> State:
    """Return the state of rows that have read nothing, whose keys and values go into a cache."""
    mask = torch.zeros(rows, 0, dtype=torch.long, device=device)
    return State(cache, mask, mask.new_zeros(rows))


def state_of(parts: Sequence[Sequence[torch.Tensor]], room: int) -> State:
    """Make a batch of rows whose keys and values are there already.

    Args:
        parts: For each row its keys and values, from left to right, each as `State.slice` returns
            them; the rows are aligned on the right.
        room: Columns to leave for what is read next.
    """
    lengths = [sum(part.shape[3] for part in row) for row in parts]
    sample = next(part for row in parts for part in row)
    _, layers, heads, _, dimension = sample.shape
    longest = max(lengths)
    both = sample.new_empty(2, layers, len(parts), heads, longest + room + _ROOM, dimension)
    for number, (row, length) in enumerate(zip(parts, lengths, strict=True)):
        column = longest - length
        # Padding is read as well, and multiplied by nothing: it has to be a number.
        both[:, :, number, :, :column] = 0
        for part in row:
            both[:, :, number, :, column : column + part.shape[3]] = part
            column += part.shape[3]
    mask = torch.zeros(len(parts), longest, dtype=torch.long, device=sample.device)
    for number, length in enumerate(lengths):
        mask[number, longest - length :] = 1
    filled = [GrowingLayer() for _ in range(layers)]
    for layer, keys, values in zip(filled, both[0], both[1], strict=True):
        layer.fill(keys, values, longest)
    return State(Cache(layers=filled), mask, mask.new_zeros(len(parts)))


def joined(states: Sequence[State]) -> State:
    """Put batches together, aligned on the right; their rows follow one another."""
    if len(states) == 1:
        return states[0]
    columns = max(state.columns for state in states)
    rows = sum(state.mask.shape[0] for state in states)
    masks = [pad(state.mask, (columns - state.columns, 0)) for state in states]
    layers = []
    for each in zip(*(state.cache.layers for state in states), strict=True):
        layer = GrowingLayer()
        layer.fill(
            _stacked([part.keys for part in each], rows, columns),
            _stacked([part.values for part in each], rows, columns),
            columns,
        )
        layers.append(layer)
    return State(
        Cache(layers=layers),
        torch.cat(masks),
        torch.cat([state.skips for state in states]),
        put_together([(state.contexts, state.mask.shape[0]) for state in states]),
    )


def _stacked(parts: Sequence[torch.Tensor], rows: int, columns: int) -> torch.Tensor:
    _, heads, _, dimension = parts[0].shape
    buffer = parts[0].new_empty(rows, heads, columns + _ROOM, dimension)
    row = 0
    for part in parts:
        end = row + part.shape[0]
        start = columns - part.shape[2]
        buffer[row:end, :, :start] = 0
        buffer[row:end, :, start:columns] = part
        row = end
    return buffer
