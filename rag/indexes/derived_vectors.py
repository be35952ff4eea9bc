"""The vector index of a collection, kept in step with the store.

What is saved is mapped and never changed: what was added and removed since is in memory, in every
process that searches. When that has become too much, the writer saves the index anew. A flat index
is written from the store, a batch at a time; the other kinds are loaded for it, or built, and take
their size in memory meanwhile.
"""

from __future__ import annotations

import re
from math import sqrt
from pathlib import Path

from rag.core.errors import CollectionCorrupt, MissingExtra, StorageError
from rag.core.protocols import Vectors
from rag.indexes.derived import Derived, size_of
from rag.indexes.manifest import Manifest
from rag.indexes.placement import place
from rag.indexes.snapshot import Snapshot
from rag.indexes.store import Store
from rag.indexes.vectors import Codes, Kind, VectorIndex, cluster_count, create_index

_TRAINING_PER_CLUSTER = 64
_MOST_TRAINING = 1 << 18
"""Training vectors at most: 400 MB at dimension 384, for 6,700 clusters.

Of 5,000,000 passages that is half of the sample and three quarters of the clusters. In those
proportions an index of 60,000 finds 0.909 instead of 0.920 of the nearest in 4 % of its clusters,
and 0.953 instead of 0.958 in 8 %.
"""
_SAVED_SHARE = 0.05
"""The saved index is renewed when more than this share of the passages is not in it."""


class DerivedVectors(Derived[VectorIndex]):
    """The vector index: mapped from a file with the changes since, or in memory without a file.

    Args:
        folder: The collection's directory.
        store: The collection's store.
        manifest: The collection's manifest.
        device: Where it is searched: 'cpu', 'cuda', 'cuda:N' or 'auto'.

    Attributes:
        manifest: The collection's manifest; tuning the index replaces it.
    """

    def __init__(
        self, folder: Path, store: Store, manifest: Manifest, device: str = "auto"
    ) -> None:
        super().__init__(folder, store)
        self.manifest = manifest
        self._device = device
        self._base = -1  # the generation at which the index was saved or built
        self._learnt_from = 0  # vectors there were then

    def save(self) -> None:
        """Save the index if what is saved has fallen far behind; the writer calls this.

        Without FAISS nothing is saved, and whoever has it builds the index from the store.
        """
        with self._store.read() as snapshot:
            since = max(self._usable(snapshot), default=0)
            change = snapshot.count_added(since) + len(snapshot.removed(since))
            if change <= _SAVED_SHARE * snapshot.count_added(0):
                return
        self._renew(anew=False)

    def renew(self) -> None:
        """Build the index anew and save it; what is saved serves until then."""
        self._renew(anew=True)

    def _renew(self, *, anew: bool) -> None:
        try:
            if self.manifest.index == "flat":
                saved = self._save_flat()
            else:
                saved = self._save_built() if anew else self._save_current()
        except MissingExtra:
            return
        # Whoever maps an old file keeps it until they let it go.
        for path in self._folder.glob("vectors-*"):
            if path != saved:
                path.unlink(missing_ok=True)
        self.close()  # the next search maps what was saved

    def rebuild(self) -> None:
        """Delete what is saved; `save` or the next search builds the index anew."""
        with self._lock.writing():
            self._forget()
            self._discard()

    def discard_newer(self) -> None:
        """Delete what was saved at generations that the store, restored from a backup, lacks."""
        with self._store.read() as snapshot:
            for generation in self._saved():
                if generation > snapshot.generation:
                    self._path(generation).unlink(missing_ok=True)

    def bytes_on_disk(self) -> int:
        """Return the size of what is saved."""
        return size_of(map(self._path, self._saved()))

    def _save_flat(self) -> Path:
        """Write a flat index from the store, without holding it."""
        from rag.indexes.flat_file import write_flat

        _, codes, dimension = self._shape
        with self._store.read() as snapshot:
            size = snapshot.count_added(0)
            path = self._path(snapshot.generation)
            write_flat(
                path,
                snapshot.added_vectors(0),
                count=size,
                dimension=dimension,
                codes=codes,
                metric=self.manifest.metric,
                training=_training(snapshot, size) if self._is_trained else None,
            )
        return path

    def _save_current(self) -> Path:
        try:
            with self.current() as (index, snapshot):
                if not _outgrown(index):
                    path = self._path(snapshot.generation)
                    index.save(path)
                    return path
        except CollectionCorrupt:
            pass  # a mapped index is read whole only now
        return self._save_built()

    def _save_built(self) -> Path:
        """Build an index in memory and save it."""
        self.close()
        with self._store.read() as snapshot:
            path = self._path(snapshot.generation)
            self._build(snapshot).save(path)
        return path

    def _forget(self) -> None:
        super()._forget()
        self._base = -1

    def _catch_up(self) -> None:
        with self._store.read() as snapshot:
            if self._generation < snapshot.pruned:
                self._forget()
            self._map_newer(snapshot)
            index = self._index
            # Clusters are learnt from the vectors there are, so many more need new ones.
            if index is None or (
                self._is_trained and snapshot.count_added(self._base) > self._learnt_from
            ):
                self._use(self._build(snapshot), snapshot.generation)
            else:
                index.remove(snapshot.removed(self._generation))
                for ids, vectors in snapshot.added_vectors(self._generation):
                    index.add(ids, vectors)
            self._generation = snapshot.generation

    def _map_newer(self, snapshot: Snapshot) -> None:
        """Map the newest saved index that can be brought up to date, if it is newer than ours."""
        useless: set[int] = set()
        # Looked for each time, since the writer deletes one when there is another.
        while newer := {each for each in self._usable(snapshot) if each > self._base} - useless:
            from rag.indexes.overlay import Overlay

            generation = max(newer)
            try:
                index = Overlay(self._path(generation), self._place(snapshot))
            except (CollectionCorrupt, StorageError):
                useless.add(generation)
                continue
            if (index.kind, index.codes, index.dimension) == self._shape:
                self._use(index, generation)
                return
            useless.add(generation)

    def _build(self, snapshot: Snapshot) -> VectorIndex:
        """Build the index in memory."""
        kind, codes, dimension = self._shape
        size = snapshot.count_added(0)
        training = None
        if self._is_trained and size:
            training = _training(snapshot, size)
        elif self._is_trained:
            kind, codes = "flat", "float32"
        index = create_index(
            dimension,
            kind=kind,
            codes=codes,
            metric=self.manifest.metric,
            size_hint=max(1, size),
            training=training,
            device=self._place(snapshot),
        )
        del training
        for ids, vectors in snapshot.added_vectors(0):
            index.add(ids, vectors)
        return index

    def _use(self, index: VectorIndex, generation: int) -> None:
        tuned = self.manifest.tuned_for(index.description)
        if tuned is not None:
            index.effort = tuned.effort
        self._index = index
        self._generation = self._base = generation
        self._learnt_from = len(index)

    def _place(self, snapshot: Snapshot) -> str:
        kind, codes, dimension = self._shape
        return place(snapshot.count_added(0), dimension, kind, codes, self._device).device

    def _discard(self) -> None:
        for generation in self._saved():
            self._path(generation).unlink(missing_ok=True)

    @property
    def _is_trained(self) -> bool:
        return self.manifest.index == "ivf" or self.manifest.codes == "int8"

    @property
    def _shape(self) -> tuple[Kind, Codes, int]:
        return self.manifest.index, self.manifest.codes, self.manifest.embedder.dimension

    def _path(self, generation: int) -> Path:
        return self._folder / f"vectors-{generation}.faiss"

    def _usable(self, snapshot: Snapshot) -> list[int]:
        return [each for each in self._saved() if snapshot.pruned <= each <= snapshot.generation]

    def _saved(self) -> list[int]:
        names = (
            path.stem.removeprefix("vectors-") for path in self._folder.glob("vectors-*.faiss")
        )
        return [int(name) for name in names if name.isdecimal()]


def _outgrown(index: VectorIndex) -> bool:
    """Whether an index of so many vectors would have more than twice the clusters."""
    clusters = re.match(r"IVF(\d+)", index.description)
    size = len(index)
    wanted = cluster_count(size, min(size, _training_size(size)))
    return clusters is not None and wanted > 2 * int(clusters[1])


def _training_size(size: int) -> int:
    return min(_MOST_TRAINING, int(_TRAINING_PER_CLUSTER * 4 * sqrt(size)))


def _training(snapshot: Snapshot, size: int) -> Vectors:
    """Return a sample of the vectors to learn codes and clusters from."""
    _, vectors = snapshot.sample_vectors(_training_size(size))
    return vectors
