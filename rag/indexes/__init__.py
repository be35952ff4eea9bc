"""Collections of documents, and the indexes that search them."""

from __future__ import annotations

from rag.indexes.collection import Collection, CollectionInfo
from rag.indexes.indexing import AddReport
from rag.indexes.manifest import Manifest
from rag.indexes.snapshot import DocumentInfo
from rag.indexes.vectors import VectorHits, VectorIndex, create_index, load_index

__all__ = [
    "AddReport",
    "Collection",
    "CollectionInfo",
    "DocumentInfo",
    "Manifest",
    "VectorHits",
    "VectorIndex",
    "create_index",
    "load_index",
]
