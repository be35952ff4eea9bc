"""Keys and values of contexts, held once for all rows of a batch that read them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from rag.models.partial_attention import Partial, attend

# Lengths that contexts may be cut to; all pieces of a group are as long.
_PIECES = (64, 128, 256, 512)

# What a piece costs beside its tokens, in tokens.
_PIECE_COST = 16


class States(Protocol):
    """Keys and values of one context."""

    @property
    def tokens(self) -> int:
        """Tokens of the context."""

    def copy_to(self, out: torch.Tensor) -> None:
        """Write them into a tensor of shape (2, layers, key-value heads, tokens, dimension)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the states of a model's contexts look like.

    Args:
        layers: Layers.
        heads: Key-value heads.
        dimension: Of a head.
        dtype: Number format.
        device: Where they are used.
    """

    layers: int
    heads: int
    dimension: int
    dtype: torch.dtype
    device: str

    @property
    def numbers(self) -> int:
        """Numbers of a token's keys and values."""
        return 2 * self.layers * self.heads * self.dimension

    @property
    def token_bytes(self) -> int:
        """Bytes of a token's keys and values."""
        return self.numbers * int(self.dtype.itemsize)


@dataclass(frozen=True, slots=True)
class Group:
    """Pieces of contexts that equally many rows read.

    Args:
        states: Keys and values; shape (2, layers, pieces, key-value heads, tokens, dimension).
        mask: Added to scores, minus infinity where a piece has no token; shape (pieces, 1, 1,
            tokens).
        rows: Which rows read each piece, -1 for none any more; shape (pieces, readers).
    """

    states: torch.Tensor
    mask: torch.Tensor
    rows: torch.Tensor

    def attend(self, layer: int, query: torch.Tensor, scaling: float | None) -> Partial:
        """Return what every reader gets from each piece; shape (pieces · readers, heads, …)."""
        key, value = self.states[:, layer]
        shared = key.shape[1]
        readers = self.rows.shape[1]
        _, heads, tokens, dimension = query.shape
        asked = query[self.rows.clamp(min=0)]
        # Readers, and heads that share keys, ask the same: they are tokens of one head.
        asked = asked.unflatten(2, (shared, heads // shared)).movedim(2, 1)
        output, mass = attend(asked.flatten(2, 4), key, value, self.mask, scaling)
        inner = (readers, heads // shared, tokens)
        return Partial(
            output.unflatten(2, inner).movedim(2, 1).reshape(-1, heads, tokens, dimension),
            mass.unflatten(2, inner).movedim(2, 1).reshape(-1, heads, tokens),
        )

    def renumbered(self, places: Mapping[int, int]) -> Group | None:
        """Return the group with new numbers of rows; None if no row is left that reads of it."""
        rows = self.rows.new_tensor(
            [[places.get(row, -1) for row in piece] for piece in self.rows.tolist()]
        )
        live = (rows >= 0).any(1)
        if not live.any():
            return None
        if 2 * int(live.sum()) > len(rows):
            return replace(self, rows=rows)
        return Group(self.states[:, :, live], self.mask[live], rows[live])


class SharedContexts:
    """What the rows of a batch read of contexts that were encoded apart.

    Attention to them is merged with a row's attention to its own tokens as adaptive parallel
    encoding does (APE, arXiv 2502.05431, section 4): contexts' scores are divided by a
    temperature T, and the logarithm of the contexts' mass is multiplied by S·T. With T = S = 1
    this is ordinary softmax over all keys.

    Args:
        groups: The contexts.
        settings: T and S of each row of the batch; shape (rows, 2).
    """

    def __init__(self, groups: Sequence[Group], settings: torch.Tensor) -> None:
        self.groups = tuple(groups)
        self.settings = settings
        temperature, scale = settings[:, :, None, None].unbind(1)
        self._sharpened = temperature[..., None].reciprocal()
        self._exponent = scale * temperature
        self._places = self._find_places()

    def _find_places(self) -> torch.Tensor:
        """Number the partial results that each row gets; shape (rows, most of any row)."""
        found: list[list[int]] = [[] for _ in self.settings]
        count = 0
        for group in self.groups:
            for row in group.rows.flatten().tolist():
                if row >= 0:
                    found[row].append(count)
                count += 1
        most = max(map(len, found))
        # The last of all partial results is that of seeing nothing.
        padded = [places + [count] * (most - len(places)) for places in found]
        return self.groups[0].rows.new_tensor(padded)

    def merged(
        self, own: Partial, layer: int, query: torch.Tensor, scaling: float | None
    ) -> torch.Tensor:
        """Return attention to a row's own tokens and to its contexts.

        Args:
            own: Attention to the row's own tokens.
            layer: Number of the layer.
            query: Shape (rows, query heads, tokens, dimension).
            scaling: Factor of the scores; one over the root of the dimension by default.

        Returns:
            Shape as `query`.
        """
        sharpened = (query * self._sharpened).to(query.dtype)
        parts = [group.attend(layer, sharpened, scaling) for group in self.groups]
        parts.append(_seeing_nothing(query))
        output = torch.cat([part.output for part in parts])[self._places]
        mass = torch.cat([part.mass for part in parts])[self._places]
        total = mass.logsumexp(1)
        # Rows without any context have no mass, and nothing to be divided by it.
        weights = (mass - total.clamp(min=torch.finfo(torch.float32).min)[:, None]).exp()
        contexts = torch.einsum("rpht,rphtd->rhtd", weights, output.float())
        share = torch.sigmoid(self._exponent * total - own.mass)[..., None]
        return own.output.float().lerp(contexts, share).to(query.dtype)

    def of_rows(self, rows: Sequence[int]) -> SharedContexts | None:
        """Return those of the given rows, which get new numbers in their order."""
        places = {row: place for place, row in enumerate(rows)}
        left = [found for group in self.groups if (found := group.renumbered(places))]
        return SharedContexts(left, self.settings[list(rows)]) if left else None


def _seeing_nothing(query: torch.Tensor) -> Partial:
    mass = query.new_full((1, *query.shape[1:3]), float("-inf"), dtype=torch.float32)
    return Partial(query.new_zeros(1, *query.shape[1:]), mass)


def share_contexts(
    contexts: Sequence[Sequence[tuple[Hashable, States]]],
    settings: Sequence[tuple[float, float]],
    shape: Shape,
) -> SharedContexts | None:
    """Lay the contexts of a batch out, each one once.

    Contexts that the same rows read follow one another without gaps.

    Args:
        contexts: Of each row, with what tells them apart.
        settings: T and S of `SharedContexts`, for each row.
        shape: Of the model's states.

    Returns:
        None if no row has a context.
    """
    readers: dict[Hashable, list[int]] = defaultdict(list)
    states: dict[Hashable, States] = {}
    for row, own in enumerate(contexts):
        seen: dict[Hashable, int] = defaultdict(int)
        for key, state in own:
            # A context that stands in a prompt twice is read twice.
            seen[key] += 1
            readers[key, seen[key]].append(row)
            states[key, seen[key]] = state
    runs: dict[tuple[int, ...], list[States]] = defaultdict(list)
    for key, rows in readers.items():
        runs[tuple(rows)].append(states[key])
    alike: dict[int, dict[tuple[int, ...], list[States]]] = defaultdict(dict)
    for rows_of_run, run in runs.items():
        alike[len(rows_of_run)][rows_of_run] = run
    groups = [_group(found, shape) for found in alike.values()]
    return SharedContexts(groups, torch.tensor(settings, device=shape.device)) if groups else None


def _group(runs: Mapping[tuple[int, ...], Sequence[States]], shape: Shape) -> Group:
    """Put runs into one buffer, each in whole pieces."""
    lengths = [sum(state.tokens for state in run) for run in runs.values()]
    piece = min(
        _PIECES,
        key=lambda size: sum(-(-length // size) * (size + _PIECE_COST) for length in lengths),
    )
    counts = [-(-length // piece) for length in lengths]
    columns = sum(counts) * piece
    buffer = torch.empty(
        (2, shape.layers, shape.heads, columns, shape.dimension),
        dtype=shape.dtype,
        device=shape.device,
    )
    mask = torch.zeros(columns, dtype=shape.dtype, device=shape.device)
    start = 0
    for run, count in zip(runs.values(), counts, strict=True):
        column = start
        for state in run:
            state.copy_to(buffer[:, :, :, column : column + state.tokens])
            column += state.tokens
        start += count * piece
        # Multiplied by nothing, but it has to be a number.
        buffer[:, :, :, column:start] = 0
        mask[column:start] = float("-inf")
    rows = [
        list(readers) for readers, count in zip(runs, counts, strict=True) for _ in range(count)
    ]
    return Group(
        buffer.unflatten(3, (-1, piece)).transpose(2, 3),
        mask.view(-1, 1, 1, piece),
        torch.tensor(rows, device=shape.device),
    )


def put_together(batches: Sequence[tuple[SharedContexts | None, int]]) -> SharedContexts | None:
    """Return what the rows of several batches read, the batches following one another.

    Args:
        batches: What each batch reads, and its rows.
    """
    found = [contexts for contexts, _ in batches if contexts]
    if not found:
        return None
    groups: list[Group] = []
    settings: list[torch.Tensor] = []
    first = 0
    for contexts, rows in batches:
        groups += [
            replace(group, rows=torch.where(group.rows < 0, -1, group.rows + first))
            for group in (contexts.groups if contexts else ())
        ]
        settings.append(contexts.settings if contexts else found[0].settings.new_ones(rows, 2))
        first += rows
    return SharedContexts(groups, torch.cat(settings))
