"""Reading prompts whose contexts were encoded in parallel."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import torch

from rag.context.encoded import EncodedContext
from rag.context.encoder import ContextEncoder
from rag.context.segments import SegmentedPrompt
from rag.context.settings import ApeSettings
from rag.models.key_values import State, state_of
from rag.models.reading import SCORED_POSITION, Reader, Reading, batches
from rag.models.shared_contexts import Shape, share_contexts

_Key = tuple[tuple[int, ...], tuple[int, ...]]


class ParallelReader:
    """Reads the tails of prompts over contexts that were encoded apart.

    A batch holds the states of each context once, however many of its prompts have it. Prompts
    without contexts are read as usual.

    Args:
        plain: Reads prompts without contexts, and has the model.
        encoder: Has the states of contexts.
        shape: Of the model's states.
        settings: Temperature and scale.
    """

    def __init__(
        self, plain: Reader, encoder: ContextEncoder, shape: Shape, settings: ApeSettings
    ) -> None:
        self.model = plain.model
        self._plain = plain
        self._encoder = encoder
        self._shape = shape
        self._settings = settings

    def columns(self, prompt: SegmentedPrompt) -> int:
        """Return the columns that a prompt's own tokens take in a batch."""
        return len(prompt.own)

    def shared(self, prompt: SegmentedPrompt) -> dict[Hashable, int]:
        """Return the tokens of a prompt's contexts, by what tells them apart."""
        return {(prompt.prefix, context.tokens): len(context.tokens) for context in prompt.contexts}

    def keep(self, prompt: SegmentedPrompt, written: Sequence[int], state: State, row: int) -> None:
        """Keep what a row has read, unless it depends on contexts."""
        if not prompt.contexts:
            self._plain.keep(prompt.own, written, state, row)

    def read(
        self, prompts: Sequence[SegmentedPrompt], positions: Sequence[int] | None = None
    ) -> Iterator[Reading | tuple[list[int], Exception]]:
        """Read prompts, and yield them in batches; see `Reader.read`."""
        needed = list(positions or [1] * len(prompts))
        bare = [row for row, prompt in enumerate(prompts) if not prompt.contexts]
        found = self._plain.read([prompts[row].own for row in bare], [needed[row] for row in bare])
        for reading in found if bare else ():
            if isinstance(reading, Reading):
                reading.rows = [bare[row] for row in reading.rows]
                yield reading
            else:
                yield [bare[row] for row in reading[0]], reading[1]
        full = [row for row, prompt in enumerate(prompts) if prompt.contexts]
        for some in batches(
            [len(prompts[row].own) + SCORED_POSITION * needed[row] for row in full],
            [len(prompts[row].tail) for row in full],
            self._plain.batch_tokens,
            self._plain.chunk_tokens,
            [self.shared(prompts[row]) for row in full],
        ):
            rows = [full[place] for place in some]
            last = max(needed[row] for row in rows)
            try:
                yield self._read(rows, [prompts[row] for row in rows], last)
            except Exception as error:  # noqa: BLE001 # the prompts of other batches are read
                yield rows, error

    def _read(self, rows: list[int], prompts: Sequence[SegmentedPrompt], positions: int) -> Reading:
        prefixes = [self._encoder.prefix(prompt.prefix) for prompt in prompts]
        states, computed = self._encoded(prompts)
        state = state_of(
            [[prefix] for prefix, _ in prefixes], max(len(prompt.tail) for prompt in prompts)
        )
        state.skips = torch.tensor([prompt.skip for prompt in prompts], device=self.model.device)
        state.contexts = share_contexts(
            [[(key, states[key]) for key in _keys(prompt)] for prompt in prompts],
            [self._adjustment(prompt) for prompt in prompts],
            self._shape,
        )
        logits = self.model.read([prompt.tail for prompt in prompts], state, positions)
        cached = []
        for prompt, (_, known) in zip(prompts, prefixes, strict=True):
            fresh = len(prompt.tail) + (0 if known else len(prompt.prefix))
            for key in _keys(prompt):
                # What is computed for the first of several is cached for the others.
                fresh += computed.pop(key, 0)
            cached.append(len(prompt) - fresh)
        return Reading(rows, logits, state, cached)

    def _adjustment(self, prompt: SegmentedPrompt) -> tuple[float, float]:
        """Return temperature and scale; a context that is the only one needs none."""
        if len(prompt.contexts) == 1:
            return 1.0, 1.0
        return self._settings.temperature, self._settings.scale

    def _encoded(
        self, prompts: Sequence[SegmentedPrompt]
    ) -> tuple[dict[_Key, EncodedContext], dict[_Key, int]]:
        """Return the states of all contexts, and the tokens of those that were computed."""
        wanted: dict[tuple[int, ...], dict[tuple[int, ...], None]] = {}
        contexts = {}
        for prompt in prompts:
            for context in prompt.contexts:
                wanted.setdefault(prompt.prefix, {})[context.tokens] = None
                contexts[context.tokens] = context
        states: dict[_Key, EncodedContext] = {}
        computed: dict[_Key, int] = {}
        for prefix, some in wanted.items():
            for context, found, fresh in self._encoder.encode(
                prefix, [contexts[tokens] for tokens in some], written=False
            ):
                states[prefix, context.tokens] = found
                if fresh:
                    computed[prefix, context.tokens] = len(context.tokens)
        return states, computed


def _keys(prompt: SegmentedPrompt) -> list[_Key]:
    return [(prompt.prefix, context.tokens) for context in prompt.contexts]
