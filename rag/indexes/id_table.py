"""Which ids are in use, and where."""

from __future__ import annotations

import numpy as np

from rag.indexes.vectors import IntArray


class IdTable:
    """Ids in use, sorted, each with the key that a library knows its vector by.

    Sorted arrays take 16 bytes an id, a tenth of a dictionary.

    Args:
        ids: The ids, each once, shape (n,).
        keys: The key of each, shape (n,).
    """

    def __init__(self, ids: IntArray, keys: IntArray) -> None:
        order = np.argsort(ids, kind="stable")
        self.ids = ids[order]
        self.keys = keys[order]

    def __len__(self) -> int:
        """Return the number of ids."""
        return len(self.ids)

    def find(self, ids: IntArray) -> IntArray:
        """Return where in the table those of `ids` are that are in use, each once, ascending."""
        ascending = bool((ids[1:] > ids[:-1]).all())
        wanted = ids if ascending else np.unique(ids)
        places = np.searchsorted(self.ids, wanted)
        inside = places < len(self.ids)
        places, wanted = places[inside], wanted[inside]
        found: IntArray = places[self.ids[places] == wanted]
        return found

    def extended(self, ids: IntArray, keys: IntArray) -> IdTable:
        """Return a table that holds more ids."""
        return IdTable(np.concatenate([self.ids, ids]), np.concatenate([self.keys, keys]))
