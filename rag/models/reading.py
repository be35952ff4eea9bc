"""Reading prompts: in batches of similar cost, and nothing twice."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

from rag.models.causal import CausalModel
from rag.models.key_values import State, state_of
from rag.models.prefix_cache import BLOCK, Block, PrefixCache

# A position whose logits are needed takes a row over the whole vocabulary, many times the memory
# that reading a token takes; it counts as this many tokens of a batch.
SCORED_POSITION = 8

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


P = TypeVar("P", contravariant=True)


class PromptReader(Protocol[P]):
    """What turns the tokens of prompts, in whatever form, into states to go on from."""

    model: CausalModel

    def read(
        self, prompts: Sequence[P], positions: Sequence[int] | None = None
    ) -> Iterator[Reading | tuple[list[int], Exception]]:
        """Read prompts, and yield them in batches; see `Reader.read`."""

    def columns(self, prompt: P) -> int:
        """Return the columns that a prompt takes in a batch."""

    def shared(self, prompt: P) -> Mapping[Hashable, int]:
        """Return the tokens of what prompts of a batch read together, by what tells it apart."""

    def keep(self, prompt: P, written: Sequence[int], state: State, row: int) -> None:
        """Keep what a row of a batch has read: its prompt and what was written after it."""


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
        self.batch_tokens = batch_tokens
        self.chunk_tokens = chunk_tokens
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
        held = [
            len(ids) + SCORED_POSITION * last for ids, last in zip(prompts, needed, strict=True)
        ]
        fresh = [len(ids) - len(known) * BLOCK for ids, known in zip(prompts, blocks, strict=True)]
        for rows in batches(held, fresh, self.batch_tokens, self.chunk_tokens):
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

    def columns(self, prompt: Sequence[int]) -> int:
        """Return the columns that a prompt takes in a batch."""
        return len(prompt)

    def shared(self, prompt: Sequence[int]) -> Mapping[Hashable, int]:
        """Return nothing: each prompt has a copy of what it begins with."""
        return {}

    def keep(self, prompt: Sequence[int], written: Sequence[int], state: State, row: int) -> None:
        """Keep what a row of a batch has read, for those that begin like it."""
        read = int(state.mask[row].sum())
        tokens = [*prompt, *written][:read]
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
            self.keep(ids, (), state, row)
        return Reading(rows, logits, state, cached)


def batches(
    held: Sequence[int],
    fresh: Sequence[int],
    batch_tokens: int,
    chunk_tokens: int,
    shared: Sequence[Mapping[Hashable, int]] = (),
) -> Iterator[list[int]]:
    """Yield the numbers of prompts in batches, dearest first.

    So memory runs out at once or never.

    Args:
        held: Tokens that each takes in memory.
        fresh: Tokens of each that are computed.
        batch_tokens: Tokens that are held at once, padding included.
        chunk_tokens: Tokens that are computed in one pass, padding included.
        shared: For each, tokens that are held once for all of a batch; see `PromptReader.shared`.
    """
    batch: list[int] = []
    longest = 0
    common: dict[Hashable, int] = {}
    for row in sorted(range(len(fresh)), key=lambda row: -fresh[row]):
        longest = max(longest, held[row])
        common |= shared[row] if shared else {}
        rows = len(batch) + 1
        if batch and (
            rows * longest + sum(common.values()) > batch_tokens
            or rows * fresh[batch[0]] > chunk_tokens
        ):
            yield batch
            batch, longest = [], held[row]
            common = dict(shared[row]) if shared else {}
        batch.append(row)
    if batch:
        yield batch


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
