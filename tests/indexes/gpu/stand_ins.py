"""FAISS indexes on the CPU that have the limits of those on a GPU."""

from threading import Lock

import faiss

from rag.indexes.gpu import faiss_gpu
from rag.indexes.gpu.copying import MOST


class Limited:
    """Searches as a GPU index does: no filter, few neighbours and clusters, one thread.

    Attributes:
        searches: How many there were.
        failing: Whether the GPU has no memory left.
    """

    def __init__(self, index):
        self.index = index
        self.searches = 0
        self.failing = False
        self._busy = Lock()

    def add(self, vectors):
        self.index.add(vectors)

    def search(self, queries, count, *, params=None):
        assert self._busy.acquire(blocking=False), "searched in two threads"
        try:
            self.searches += 1
            if self.failing:
                raise RuntimeError("Error in virtual void* StandardGpuResourcesImpl::allocMemory")
            assert 0 < count <= MOST
            if params is not None:
                assert params.sel is None
                assert 0 < params.nprobe <= MOST
            return self.index.search(queries, count, params=params)
        finally:
            self._busy.release()


class Linker:
    """Links vectors to a graph, as CAGRA does, with FAISS on the CPU."""

    def __init__(self, metric):
        self.metric = metric

    def train(self, vectors):
        self.vectors = vectors.copy()

    def copyTo(self, graph):  # noqa: N802
        assert graph.metric_type == self.metric
        graph.add(self.vectors)


class StandIns:
    """Takes the place of FAISS's GPU part, and keeps what was made."""

    def __init__(self, monkeypatch):
        self.flats = []
        self.clustered = []
        self.graphs = []
        monkeypatch.setattr(faiss_gpu, "cagra", self._cagra)
        monkeypatch.setattr(faiss_gpu, "flat", self._flat)
        monkeypatch.setattr(faiss_gpu, "clustered", self._clustered)

    @property
    def searches(self):
        return sum(each.searches for each in self.flats + self.clustered)

    def _flat(self, number, dimension, metric, *, half=False):
        self.flats.append(Limited(faiss.IndexFlat(dimension, metric)))
        return self.flats[-1]

    def _cagra(self, number, dimension, metric):
        self.graphs.append(Linker(metric))
        return self.graphs[-1]

    def _clustered(self, index, numbers):
        self.clustered.append(Limited(faiss.clone_index(index)))
        return self.clustered[-1]
