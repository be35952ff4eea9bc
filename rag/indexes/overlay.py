"""A saved vector index and what has changed since, in memory: the file is never written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from rag.core.errors import InputError
from rag.core.extras import require
from rag.core.protocols import Vectors
from rag.indexes import faiss_create
from rag.indexes.faiss_index import checked_vectors
from rag.indexes.rwlock import ReadWriteLock
from rag.indexes.vectors import IntArray, VectorHits, load_index

faiss = require("faiss", extra="cpu", package="faiss-cpu", needed_for="A vector index")

_DEEPER = 4
"""So many times as far a search goes for queries whose hits were mostly removed."""


class Overlay:
    """A `VectorIndex` whose vectors are in a file, so that it may be larger than memory.

    What is added is held in memory as float32 and compared with exactly; what is removed from the
    file is passed by. Memory is taken for the vectors added, 8 bytes for each removed, and, from
    the first change or filter on, 16 bytes for each vector in the file.

    Scores of what is in the file are as exact as its codes. Beside int8 and pq they rank with the
    exact ones of what was added, which moves hits by the codes' error: `rag.indexes.rescoring`
    scores all of them anew.

    Args:
        path: The saved index; it may be deleted, but not overwritten, as long as this is in use.
        device: Where the saved index is searched.

    Raises:
        StorageError: The file cannot be read.
        CollectionCorrupt: The file is not a whole index; what it holds is not checked.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        base = load_index(path, mapped=True, device=device)
        self._path = path
        self._base = base
        self._added = faiss_create.create(
            base.dimension, "flat", "float32", base.metric, None, None
        )
        self._removed = np.empty(0, np.int64)  # from the base, ascending
        self._lock = ReadWriteLock()
        self.kind = base.kind
        self.codes = base.codes
        self.description = base.description
        self.metric = base.metric
        self.dimension = base.dimension
        self.device = base.device
        self.mapped = base.mapped

    @property
    def effort(self) -> int:
        """How far a search of the file goes; see `VectorIndex.effort`."""
        return self._base.effort

    @effort.setter
    def effort(self, effort: int) -> None:
        self._base.effort = effort

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._base) - len(self._removed) + len(self._added)

    def ids(self) -> IntArray:
        """Return the ids of all vectors."""
        with self._lock.reading():
            return np.concatenate([self._without_removed(self._base.ids()), self._added.ids()])

    def add(self, ids: npt.ArrayLike, vectors: npt.ArrayLike) -> None:
        """Add vectors; see `VectorIndex.add`."""
        with self._lock.writing():
            known = self._in_base(np.asarray(ids))
            if len(known):
                raise InputError(f"id {known[0]} is in the index already; remove it first")
            self._added.add(ids, vectors)

    def remove(self, ids: npt.ArrayLike) -> int:
        """Remove vectors; see `VectorIndex.remove`."""
        with self._lock.writing():
            known = self._in_base(np.asarray(ids))
            removed = self._added.remove(ids)
            self._removed = np.union1d(self._removed, known)
            return removed + len(known)

    def search(
        self, queries: npt.ArrayLike, top_k: int, ids: npt.ArrayLike | None = None
    ) -> list[VectorHits]:
        """Find the vectors nearest to each query; see `VectorIndex.search`."""
        asked = checked_vectors(queries, self.dimension, "queries")
        with self._lock.reading():
            added = self._added.search(asked, top_k, ids)
            if ids is None:
                saved = self._search_base(asked, top_k)
            else:
                allowed = self._without_removed(np.asarray(ids))
                saved = self._base.search(asked, top_k, allowed)
        if not len(self._added):
            return saved
        return [_best(*hits, top_k) for hits in zip(saved, added, strict=True)]

    def save(self, path: Path) -> None:
        """Write the index with its changes to a file; see `VectorIndex.save`.

        The saved index is loaded for that, so this takes as much memory as the file is large.

        Raises:
            CollectionCorrupt: The saved index is damaged.
            StorageError: The disk refused; what was at `path` before is intact.
        """
        with self._lock.reading():
            whole = load_index(self._path)
            whole.remove(self._removed)
            added = self._added.contents()
            whole.add(
                faiss.vector_to_array(added.id_map), added.index.reconstruct_n(0, added.ntotal)
            )
            whole.save(path)

    def _in_base(self, ids: IntArray) -> IntArray:
        """Return those of the ids that are in use in the saved index, ascending."""
        # Searched for as many as there are among some ids, an index finds all that it holds.
        nowhere = np.zeros((1, self.dimension), np.float32)
        (hits,) = self._base.search(nowhere, max(1, len(ids)), ids)
        return np.sort(self._without_removed(hits.ids))

    def _search_base(self, queries: Vectors, top_k: int) -> list[VectorHits]:
        """Search the file, ever deeper for queries whose nearest vectors were removed."""
        if not len(self._removed):
            return self._base.search(queries, top_k)
        wanted = min(top_k, len(self._base) - len(self._removed))
        depth = 2 * top_k
        found = self._search_alive(queries, depth)
        while short := [row for row, hits in enumerate(found) if len(hits.ids) < wanted]:
            depth *= _DEEPER
            for row, hits in zip(short, self._search_alive(queries[short], depth), strict=True):
                found[row] = hits
        return [VectorHits(hits.ids[:wanted], hits.scores[:wanted]) for hits in found]

    def _search_alive(self, queries: Vectors, depth: int) -> list[VectorHits]:
        """Return what is left of the nearest vectors in the file."""
        left = []
        for ids, scores in self._base.search(queries, depth):
            alive = ~self._is_removed(ids)
            left.append(VectorHits(ids[alive], scores[alive]))
        return left

    def _without_removed(self, ids: IntArray) -> IntArray:
        return ids[~self._is_removed(ids)] if len(self._removed) else ids

    def _is_removed(self, ids: IntArray) -> npt.NDArray[np.bool_]:
        places = np.minimum(np.searchsorted(self._removed, ids), len(self._removed) - 1)
        removed: npt.NDArray[np.bool_] = self._removed[places] == ids
        return removed


def _best(saved: VectorHits, added: VectorHits, top_k: int) -> VectorHits:
    """Merge two rankings."""
    ids = np.concatenate([saved.ids, added.ids])
    scores = np.concatenate([saved.scores, added.scores])
    best = np.lexsort((ids, -scores))[:top_k]
    return VectorHits(ids[best], scores[best])
