from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rag.core.protocols import Embedder
from rag.indexes.any_collection import AnyCollection, Location
from rag.indexes.milvus.collection import MilvusCollection
from rag.testing.collection_conformance import CollectionConformance

_NUMBERS = count()


class TestMilvusCollection(CollectionConformance):
    def create(self, location: Location, embedder: Embedder, **options: Any) -> AnyCollection:
        return MilvusCollection.create(str(location), embedder, **options)

    def open(
        self, location: Location, embedder: Embedder | None = None, *, writable: bool = False
    ) -> AnyCollection:
        return MilvusCollection.open(str(location), embedder, writable=writable)

    def import_(self, folder: Path, location: Location) -> AnyCollection:
        return MilvusCollection.import_(folder, str(location))

    @pytest.fixture
    def locations(self, milvus_lite: str) -> Iterator[Location]:
        return (f"{milvus_lite}#conformance_{number}" for number in _NUMBERS)
