"""Collections of documents, and the indexes that search them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag.indexes.any_collection import (
    AnyCollection,
    create_collection,
    import_collection,
    open_collection,
)
from rag.indexes.collection import Collection
from rag.indexes.indexing import AddReport
from rag.indexes.manifest import Manifest, TunedIndex
from rag.indexes.placement import Placement
from rag.indexes.readable_collection import CollectionInfo
from rag.indexes.snapshot import DocumentInfo
from rag.indexes.vectors import VectorHits, VectorIndex, create_index, load_index

if TYPE_CHECKING:
    from rag.indexes.milvus.collection import MilvusCollection

__all__ = [
    "AddReport",
    "AnyCollection",
    "Collection",
    "CollectionInfo",
    "DocumentInfo",
    "Manifest",
    "MilvusCollection",
    "Placement",
    "TunedIndex",
    "VectorHits",
    "VectorIndex",
    "create_collection",
    "create_index",
    "import_collection",
    "load_index",
    "open_collection",
]


def __getattr__(name: str) -> object:
    if name == "MilvusCollection":  # its client takes a second to import, and is an extra
        from rag.indexes.milvus.collection import MilvusCollection

        return MilvusCollection
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
