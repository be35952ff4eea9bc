"""The vector index of a collection, kept in step with the store."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

from rag.core.errors import CollectionCorrupt, MissingExtra, StorageError
from rag.indexes.derived import Derived, size_of
from rag.indexes.manifest import Manifest
from rag.indexes.snapshot import Snapshot
from rag.indexes.store import Store
from rag.indexes.vectors import Kind, VectorIndex, create_index, load_index

_TRAINED = ("ivf", "pq")
_TRAINING_PER_CLUSTER = 64
_SAVED_SHARE = 0.05
"""The saved index is renewed when more than this share of the passages is not in it."""


class DerivedVectors(Derived[VectorIndex]):
    """The vector index: in memory, or mapped from a file while the file is all there is to it.

    Args:
        folder: The collection's directory.
        store: The collection's store.
        manifest: The collection's manifest.
    """

    def __init__(self, folder: Path, store: Store, manifest: Manifest) -> None:
        super().__init__(folder, store)
        self._manifest = manifest

    def save(self) -> None:
        """Save the index if what is saved has fallen far behind; the writer calls this.

        Without FAISS nothing is saved, and whoever has it builds the index from the store.
        """
        with self._store.read() as snapshot:
            since = max(self._usable(snapshot), default=0)
            change = snapshot.count_added(since) + len(snapshot.removed(since))
            if change <= _SAVED_SHARE * snapshot.counts().passages:
                return
        try:
            with self.current() as (index, snapshot):
                index.save(self._path(snapshot.generation))
                for generation in self._saved():
                    if generation != snapshot.generation:
                        self._path(generation).unlink(missing_ok=True)
        except MissingExtra:
            return

    def discard_newer(self) -> None:
        """Delete what was saved at generations that the store, restored from a backup, lacks."""
        with self._store.read() as snapshot:
            for generation in self._saved():
                if generation > snapshot.generation:
                    self._path(generation).unlink(missing_ok=True)

    def bytes_on_disk(self) -> int:
        """Return the size of what is saved."""
        return size_of(map(self._path, self._saved()))

    def _catch_up(self) -> None:
        with self._store.read() as snapshot:
            if self._index is None or self._index.mapped or self._generation < snapshot.pruned:
                self._index = self._load(snapshot)
            index, since = self._index, self._generation
            # Clusters are learnt from the vectors there are, so many more need new ones.
            if index is None or snapshot.count_added(since) > len(index):
                self._index = self._build(snapshot)
            elif not index.mapped:
                index.remove(snapshot.removed(since))
                for ids, vectors in snapshot.added_vectors(since):
                    index.add(ids, vectors)
            self._generation = snapshot.generation

    def _load(self, snapshot: Snapshot) -> VectorIndex | None:
        """Load the newest saved index that can be brought up to date."""
        for generation in sorted(self._usable(snapshot), reverse=True):
            changed = snapshot.count_added(generation) + len(snapshot.removed(generation))
            try:
                index = load_index(self._path(generation), mapped=not changed)
            except (CollectionCorrupt, StorageError):
                continue
            if (index.kind, index.dimension) == self._shape:
                self._generation = generation
                return index
        return None

    def _build(self, snapshot: Snapshot) -> VectorIndex:
        kind, dimension = self._shape
        size = snapshot.counts().passages
        training = None
        if kind in _TRAINED and size:
            _, training = snapshot.sample_vectors(int(_TRAINING_PER_CLUSTER * 4 * sqrt(size)))
        elif kind in _TRAINED:
            kind = "flat"
        index = create_index(
            dimension,
            kind=kind,
            metric=self._manifest.metric,
            size_hint=max(1, size),
            training=training,
        )
        del training
        for ids, vectors in snapshot.added_vectors(0):
            index.add(ids, vectors)
        return index

    def _discard(self) -> None:
        for generation in self._saved():
            self._path(generation).unlink(missing_ok=True)

    @property
    def _shape(self) -> tuple[Kind, int]:
        return self._manifest.index, self._manifest.embedder.dimension

    def _path(self, generation: int) -> Path:
        return self._folder / f"vectors-{generation}.faiss"

    def _usable(self, snapshot: Snapshot) -> list[int]:
        return [each for each in self._saved() if snapshot.pruned <= each <= snapshot.generation]

    def _saved(self) -> list[int]:
        names = (
            path.stem.removeprefix("vectors-") for path in self._folder.glob("vectors-*.faiss")
        )
        return [int(name) for name in names if name.isdecimal()]
