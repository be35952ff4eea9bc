"""The collections that the service serves, by name."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Literal

from rag.core.errors import CollectionExists, CollectionNotFound, ReadOnly, SearchFailed
from rag.indexes import Collection
from rag.retrievers import DenseRetriever, HybridRetriever, LexicalRetriever
from rag.service.database import Database
from rag.service.errors import ApiError

if TYPE_CHECKING:
    from rag.core.protocols import Embedder, Retriever

RetrieverKind = Literal["hybrid", "dense", "lexical"]


@dataclass(frozen=True, slots=True)
class Shelf:
    """A collection that is served.

    Args:
        name: Its name in the API.
        collection: The collection, open.
        retrievers: Its retrievers, one object each: searches of one object share batches.
        folder: The folder of documents that it follows, if it follows one.
        outside: Whether it lies outside of the service's folder; then it is not deleted.
        created: When it was first served, ISO 8601 in UTC.
    """

    name: str
    collection: Collection
    retrievers: dict[RetrieverKind, Retriever]
    folder: Path | None
    outside: bool
    created: str


class Library:
    """Opens, makes and deletes collections.

    Args:
        database: Where their names are kept.
        folder: Where new ones are made, each under a random name.
        embedder: Embeds the passages of new ones, and of old ones that were built with it.
        read_only: Whether they can only be searched.
    """

    def __init__(
        self, database: Database, folder: Path, embedder: Embedder, *, read_only: bool = False
    ) -> None:
        self.read_only = read_only
        self._database = database
        self._folder = folder
        self._embedder = embedder
        self._shelves: dict[str, Shelf] = {}
        self._changing = RLock()

    def open(self) -> None:
        """Open the collections that were made before.

        Raises:
            CollectionError: One of them cannot be opened; the error names it.
        """
        with self._database.read() as connection:
            rows = connection.execute("SELECT * FROM collections ORDER BY name").fetchall()
        if not self.read_only and self._folder.exists():
            # Left behind where the service was killed while it made or deleted one.
            for each in self._folder.iterdir():
                if str(each) not in {row["path"] for row in rows}:
                    shutil.rmtree(each)
        for row in rows:
            collection = self._opened(Path(row["path"]))
            self._shelve(row["name"], collection, row["folder"], False, row["created"])

    def close(self) -> None:
        """Close all of them."""
        for shelf in self._shelves.values():
            shelf.collection.close()
        self._shelves.clear()

    def __iter__(self) -> Iterator[Shelf]:
        """Return the collections, by name."""
        return iter(sorted(self._shelves.values(), key=lambda shelf: shelf.name.casefold()))

    def __getitem__(self, name: str) -> Shelf:
        """Return a collection.

        Raises:
            CollectionNotFound: None of that name is served.
        """
        try:
            return self._shelves[name.casefold()]
        except KeyError:
            raise CollectionNotFound(name, "no collection of that name is served") from None

    def __contains__(self, name: str) -> bool:
        """Return whether a collection of that name is served."""
        return name.casefold() in self._shelves

    def explain(self, error: Exception | None, name: str | None) -> None:
        """Say better why a search failed whose collection was deleted meanwhile.

        Raises:
            CollectionNotFound: It was.
        """
        if isinstance(error, SearchFailed) and name is not None and name not in self:
            raise CollectionNotFound(name, "it was deleted meanwhile") from error

    def create(self, name: str, folder: Path | None = None) -> Shelf:
        """Make an empty collection.

        Args:
            name: Its name.
            folder: The folder of documents that it is to follow.

        Raises:
            CollectionExists: There is one of that name.
            ReadOnly: The service is read-only.
            StorageError: The disk refused.
        """
        self.check_writable()
        with self._changing:
            if name in self:
                raise CollectionExists(name, "there is a collection of that name; choose another")
            path = self._folder / secrets.token_hex(8)
            collection = Collection.create(path, self._embedder)
            created = datetime.now(UTC).isoformat(timespec="seconds")
            try:
                with self._database.write() as connection:
                    connection.execute(
                        "INSERT INTO collections VALUES (?, ?, ?, ?)",
                        (name, str(path), None if folder is None else str(folder), created),
                    )
            except BaseException:
                collection.close()
                shutil.rmtree(path)
                raise
            return self._shelve(name, collection, folder, False, created)

    def add(self, name: str, path: Path) -> Shelf:
        """Serve a collection that lies elsewhere, for as long as the service runs.

        Raises:
            CollectionError: It cannot be opened, or there is one of that name.
        """
        with self._changing:
            if name in self:
                raise CollectionExists(name, "there is a collection of that name; rename one")
            created = datetime.now(UTC).isoformat(timespec="seconds")
            return self._shelve(name, self._opened(path), None, True, created)

    def delete(self, name: str) -> None:
        """Delete a collection and its documents.

        Raises:
            ApiError: It lies outside of the service's folder.
            CollectionNotFound: None of that name is served.
            ReadOnly: The service is read-only.
            StorageError: The disk refused.
        """
        with self._changing:
            self.check_deletable(name)
            shelf = self[name]
            with self._database.write() as connection:
                connection.execute("DELETE FROM collections WHERE name = ?", (shelf.name,))
            del self._shelves[shelf.name.casefold()]
            shelf.collection.close()
            shutil.rmtree(shelf.collection.path)

    def check_deletable(self, name: str) -> None:
        """Refuse to delete what cannot be deleted.

        Raises:
            ApiError: It lies outside of the service's folder.
            CollectionNotFound: None of that name is served.
            ReadOnly: The service is read-only.
        """
        self.check_writable()
        if self[name].outside:
            raise ApiError(
                409,
                "not_deletable",
                "the collection lies outside of the service's folder; delete it there",
            )

    def check_writable(self) -> None:
        """Refuse changes where the service is read-only.

        Raises:
            ReadOnly: It is.
        """
        if self.read_only:
            raise ReadOnly("the service", "is read-only; start it without --read-only")

    def _opened(self, path: Path) -> Collection:
        from rag.indexes import Manifest

        built_with = Manifest.read(path).embedder
        same = built_with.name == self._embedder.name
        return Collection.open(path, self._embedder if same else None, writable=not self.read_only)

    def _shelve(
        self, name: str, collection: Collection, folder: object, outside: bool, created: str
    ) -> Shelf:
        retrievers: dict[RetrieverKind, Retriever] = {
            "hybrid": HybridRetriever(collection),
            "dense": DenseRetriever(collection),
            "lexical": LexicalRetriever(collection),
        }
        follows = None if folder is None else Path(str(folder))
        shelf = Shelf(name, collection, retrievers, follows, outside, created)
        self._shelves[name.casefold()] = shelf
        return shelf
