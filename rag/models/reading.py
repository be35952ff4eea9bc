"""Reading prompts: in batches of similar cost, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from rag.models.causal import CausalModel
from rag.models.key_values import State, state_of
from rag.models.prefix_cache import BLOCK, Block, PrefixCache

# A position whose logits are needed takes a row over the whole vocabulary, many times the memory
# that reading a token takes; it counts as this many tokens of a batch.
_SCORED_POSITION = 8

# Computing a beginning for itself takes a pass of its own; it pays from this many tokens saved.
_WORTH_SHARING = 2 * BLOCK


@dataclass
class Reading:
    """A batch that was read.

    Args:
        rows: Which prompts it holds, by number.
        logits: After the last tokens of each; shape (rows, positions, vocabulary).
        state: To go on from.
        cached: Tokens of each that were not computed for it.
    """

    rows: list[int]
    logits: torch.Tensor
    state: State
    cached: list[int]


class Reader:
    """Reads prompts with a model, keeping what the next ones may begin with.

    Beginnings that prompts have in common, with one another or with what was read before, are
    computed once. Models with layers other than full attention cannot go on from a part of what
    they read; theirs are computed anew.

    Args:
        model: The model.
        batch_tokens: Tokens of prompts, padding included, that are held at once.
        chunk_tokens: Those of them that are computed in one pass.
        prefix_bytes: Memory for beginnings.
    """

    def __init__(
        self, model: CausalModel, batch_tokens: int, chunk_tokens: int, prefix_bytes: int
    ) -> None:
        self.model = model
        self._batch_tokens = batch_tokens
        self._chunk_tokens = chunk_tokens
        self.prefixes = PrefixCache(prefix_bytes if model.full_attention else 0)

    def read(
        self, prompts: Sequence[Sequence[int]], positions: Sequence[int] | None = None
    ) -> Iterator[Reading | tuple[list[int], Exception]]:
        """Read prompts, and yield them in batches, dearest first.

        Args:
            prompts: Their tokens; none is empty.
            positions: For how many last tokens of each logits are needed; one by default.

        Yields:
            A batch, or the numbers of prompts whose batch failed and why.
        """
        needed = list(positions or [1] * len(prompts))
        computed = self._share(prompts)
        blocks = [
            self.prefixes.longest(ids, len(ids) - last)
            for ids, last in zip(prompts, needed, strict=True)
        ]
        for rows in self._batches(prompts, needed, blocks):
            try:
                reading = self._read(
                    rows,
                    [prompts[row] for row in rows],
                    max(needed[row] for row in rows),
                    [blocks[row] for row in rows],
                )
            except Exception as error:  # noqa: BLE001 # the prompts of other batches are read
                yield rows, error
            else:
                # What was computed for the first of several was not cached for it.
                reading.cached = [
                    min(cached, computed.get(row, cached))
                    for row, cached in zip(rows, reading.cached, strict=True)
                ]
                yield reading

    def keep(self, tokens: Sequence[int], state: State, row: int) -> None:
        """Keep what a row of a batch has read, for those that begin like it."""
        self.prefixes.add(tokens, lambda first, last: state.slice(row, first, last))

    def _share(self, prompts: Sequence[Sequence[int]]) -> dict[int, int]:
        """Read beginnings that several prompts have in common and that are not known yet.

        Returns:
            For each prompt that one was computed for: how much of it was known before.
        """
        if not self.prefixes.capacity:
            return {}
        shared = [
            (owner, prompts[owner][:length])
            for owner, length in _common(prompts).items()
            if length - len(self.prefixes.longest(prompts[owner], length)) * BLOCK >= _WORTH_SHARING
        ]
        known: dict[int, int] = {}
        # Beginnings may begin alike themselves.
        for reading in self.read([ids for _, ids in shared]) if shared else ():
            if isinstance(reading, Reading):
                for number, cached in zip(reading.rows, reading.cached, strict=True):
                    known[shared[number][0]] = cached
        return known

    def _batches(
        self,
        prompts: Sequence[Sequence[int]],
        needed: Sequence[int],
        blocks: Sequence[Sequence[Block]],
    ) -> Iterator[list[int]]:
        """Yield prompts in batches, dearest first, so that memory runs out at once or never."""
        fresh = [len(ids) - len(known) * BLOCK for ids, known in zip(prompts, blocks, strict=True)]
        batch: list[int] = []
        held = 0
        for row in sorted(range(len(prompts)), key=lambda row: -fresh[row]):
            held_with = max(held, len(prompts[row]) + _SCORED_POSITION * needed[row])
            rows = len(batch) + 1
            if batch and (
                rows * held_with > self._batch_tokens or rows * fresh[batch[0]] > self._chunk_tokens
            ):
                yield batch
                batch, held_with = [], len(prompts[row]) + _SCORED_POSITION * needed[row]
            batch.append(row)
            held = held_with
        if batch:
            yield batch

    def _read(
        self,
        rows: list[int],
        prompts: Sequence[Sequence[int]],
        positions: int,
        blocks: Sequence[Sequence[Block]],
    ) -> Reading:
        cached = [len(known) * BLOCK for known in blocks]
        fresh = [ids[start:] for ids, start in zip(prompts, cached, strict=True)]
        if any(cached):
            parts = [[block.states for block in known] for known in blocks]
            state = state_of(parts, max(map(len, fresh)))
        else:
            state = self.model.nothing_read(len(prompts))
        logits = self.model.read(fresh, state, positions)
        for row, ids in enumerate(prompts):
            self.keep(ids, state, row)
        return Reading(rows, logits, state, cached)


def _common(prompts: Sequence[Sequence[int]]) -> dict[int, int]:
    """Find beginnings, whole blocks long, that several prompts have in common.

    Returns:
        The length of each, under the number of the first prompt that has it. Those that are the
        beginning of another one are left out.
    """
    nodes: dict[tuple[int, tuple[int, ...]], int] = {}
    owners: list[int] = []
    shared: set[int] = set()
    paths: list[list[int]] = []
    for number, ids in enumerate(prompts):
        parent = -1
        path = []
        # The last token is always read: its logits are needed.
        for start in range(0, len(ids) - BLOCK, BLOCK):
            key = (parent, tuple(ids[start : start + BLOCK]))
            parent = nodes.setdefault(key, len(nodes))
            if parent == len(owners):
                owners.append(number)
            else:
                shared.add(parent)
            path.append(parent)
        paths.append(path)
    longest: dict[int, int] = {}
    for path in paths:
        depth = sum(node in shared for node in path)
        if depth:
            owner = owners[path[depth - 1]]
            longest[owner] = max(longest.get(owner, 0), depth * BLOCK)
    return longest
