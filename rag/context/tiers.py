"""Encoded contexts in memory: on the device, in the computer's memory, on disk."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

import torch

from rag.context.encoded import EncodedContext
from rag.context.store import ContextStore
from rag.core.errors import StorageError

Key = tuple[tuple[int, ...], tuple[int, ...]]
"""Tokens of the prefix and of the context: themselves, so that none can pass for others."""


class Tier:
    """Encoded contexts in one memory; the least recently used leave first.

    Args:
        capacity: Bytes of states at most; a context larger than that is not held.

    Attributes:
        size: Bytes of the states that are held.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self._held: OrderedDict[Key, EncodedContext] = OrderedDict()

    def get(self, key: Key) -> EncodedContext | None:
        """Return a context, which is then the most recently used; None if it is not held."""
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, key: Key, context: EncodedContext) -> None:
        """Hold a context, in place of one with the same key."""
        if known := self._held.pop(key, None):
            self.size -= known.nbytes
        if context.nbytes > self.capacity:
            return
        self._held[key] = context
        self.size += context.nbytes
        while self.size > self.capacity:
            _, oldest = self._held.popitem(last=False)
            self.size -= oldest.nbytes


class CacheStats(NamedTuple):
    """Where contexts were found.

    Args:
        device: In the memory of the device.
        ram: In the computer's memory.
        disk: On disk.
        misses: Nowhere.
        unwritten: In memory only, since the disk refused them.
    """

    device: int
    ram: int
    disk: int
    misses: int
    unwritten: int


class ContextCache:
    """Encoded contexts, in the fastest memory that has room for them.

    What is found further down is lifted up, and what leaves a memory is still in those below it
    as long as there is room. Threads may share a cache.

    Args:
        store: States on disk; None keeps them in memory only.
        ram_bytes: Room in the computer's memory. Files of the store that are mapped into it count
            in full.
        gpu_bytes: Room in the memory of the device, unless that is the computer's.
        device: Where the model runs.
    """

    def __init__(
        self,
        store: ContextStore | None,
        *,
        ram_bytes: int,
        gpu_bytes: int,
        device: str | torch.device,
    ) -> None:
        self.store = store
        self._device = torch.device(device)
        self._ram = Tier(ram_bytes)
        self._on_device = Tier(0 if self._device.type == "cpu" else gpu_bytes)
        self._found: Counter[str] = Counter()
        # Held for the book-keeping only: others need not wait while states are read or copied.
        self._lock = Lock()

    @property
    def int8(self) -> bool:
        """Whether states are rounded to int8."""
        return self.store is not None and self.store.int8

    @property
    def stats(self) -> CacheStats:
        """Where contexts were found so far."""
        with self._lock:
            return CacheStats(*(self._found[place] for place in CacheStats._fields))

    def get(self, prefix: Sequence[int], tokens: Sequence[int]) -> EncodedContext | None:
        """Return an encoded context; None if it is not there.

        Args:
            prefix: Tokens after which it was encoded.
            tokens: Its own tokens.

        Raises:
            StorageError: It is on disk, and cannot be read.
        """
        key = (tuple(prefix), tuple(tokens))
        place = "device"
        with self._lock:
            context = self._on_device.get(key)
            if context is None:
                place, context = "ram", self._ram.get(key)
        if context is None and self.store is not None:
            place, context = "disk", self.store.get(*key)
        with self._lock:
            self._found[place if context else "misses"] += 1
        return context if context is None or place == "device" else self._hold(key, context)

    def put(
        self,
        prefix: Sequence[int],
        tokens: Sequence[int],
        states: torch.Tensor,
        source: str = "",
        *,
        written: bool = True,
    ) -> EncodedContext:
        """Keep an encoded context, on disk and in memory; see `ContextStore.put`.

        Args:
            prefix: Tokens after which it was encoded.
            tokens: Its own tokens.
            states: Keys and values of its own tokens.
            source: Names the text that it came from.
            written: Whether it has to be on disk; if not, memory does where the disk refuses.

        Returns:
            The context as `get` would return it.

        Raises:
            StorageError: The disk refused what has to be written.
        """
        key = (tuple(prefix), tuple(tokens))
        if self.store is None:
            return self._hold(key, EncodedContext.of(states))
        try:
            return self._hold(key, self.store.put(*key, states, source))
        except StorageError:
            if written:
                raise
        with self._lock:
            self._found["unwritten"] += 1
        return self._hold(key, self.store.encoded(states))

    def _hold(self, key: Key, context: EncodedContext) -> EncodedContext:
        """Hold a context where there is room for it, and return it from the fastest place."""
        in_ram = context.to("cpu") if context.nbytes <= self._ram.capacity else None
        on_device = context.to(self._device) if context.nbytes <= self._on_device.capacity else None
        with self._lock:
            if in_ram:
                self._ram.put(key, in_ram)
            if on_device:
                self._on_device.put(key, on_device)
        return on_device or in_ram or context
