"""Encoding contexts, each by itself after the prefix, and never one twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

import torch

from rag.context.encoded import EncodedContext
from rag.context.segments import Context
from rag.context.tiers import ContextCache
from rag.models.key_values import state_of
from rag.models.reading import Reader, batches

_PREFIXES = 16


class ContextEncoder:
    """Returns the states of contexts, from the cache or computed.

    Every context is read as if it alone followed the prefix, so all of them have the positions
    after it. To be used on the thread of the model's device, in `torch.inference_mode`.

    Args:
        reader: Has the model, and says how many tokens are computed in one pass.
        cache: Where states are kept.
    """

    def __init__(self, reader: Reader, cache: ContextCache) -> None:
        self.cache = cache
        self._reader = reader
        self._model = reader.model
        self._prefixes: OrderedDict[tuple[int, ...], torch.Tensor] = OrderedDict()

    def prefix(self, tokens: tuple[int, ...]) -> tuple[torch.Tensor, bool]:
        """Return the states of a prefix, and whether they were there already.

        They are held as computed, apart from those of contexts: all of a question's attention
        rests on them.
        """
        known = self._prefixes.get(tokens)
        if known is None:
            state = self._model.nothing_read(1)
            self._model.read([tokens], state)
            self._prefixes[tokens] = state.slice(0, 0, len(tokens))
            if len(self._prefixes) > _PREFIXES:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(tokens)
        return self._prefixes[tokens], known is not None

    def encode(
        self, prefix: tuple[int, ...], contexts: Sequence[Context], *, written: bool
    ) -> Iterator[tuple[Context, EncodedContext, bool]]:
        """Yield contexts with their states, those that are there already first.

        Args:
            prefix: What they are encoded after.
            contexts: The contexts, none of them twice.
            written: Whether those that are computed have to be on disk; see `ContextCache.put`.

        Yields:
            Each context, its states, and whether they had to be computed.
        """
        missing = []
        for context in contexts:
            if states := self.cache.get(prefix, context.tokens):
                yield context, states, False
            else:
                missing.append(context)
        if not missing:
            return
        before, _ = self.prefix(prefix)
        lengths = [len(context.tokens) for context in missing]
        reader = self._reader
        for rows in batches(
            [len(prefix) + length for length in lengths],
            lengths,
            reader.batch_tokens,
            reader.chunk_tokens,
        ):
            state = state_of([[before]] * len(rows), lengths[rows[0]])
            self._model.read([missing[row].tokens for row in rows], state)
            for place, row in enumerate(rows):
                own = state.slice(place, len(prefix), len(prefix) + lengths[row])
                context = missing[row]
                yield (
                    context,
                    self.cache.put(prefix, context.tokens, own, context.source, written=written),
                    True,
                )
