from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rag.core.protocols import Embedder
from rag.indexes import Collection
from rag.indexes.any_collection import AnyCollection, Location
from rag.testing.collection_conformance import CollectionConformance


class TestCollection(CollectionConformance):
    def create(self, location: Location, embedder: Embedder, **options: Any) -> AnyCollection:
        return Collection.create(location, embedder, **options)

    def open(
        self, location: Location, embedder: Embedder | None = None, *, writable: bool = False
    ) -> AnyCollection:
        return Collection.open(location, embedder, writable=writable)

    def import_(self, folder: Path, location: Location) -> AnyCollection:
        return Collection.import_(folder, location)

    @pytest.fixture
    def locations(self, tmp_path: Path) -> Iterator[Location]:
        return (tmp_path / f"collection-{number}" for number in count())
