"""The files that a collection is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rag.core.documents import Document
from rag.core.progress import Progress
from rag.indexes.any_collection import AnyCollection
from rag.text import FoundFile, Skipped, find_files, read_documents


@dataclass
class Source:
    """Files and folders that documents are read from, one at a time.

    Args:
        paths: Files and folders.
        include: Patterns of files to take.
        exclude: Patterns of files to leave out.
        sensitivity: The tags of documents that state none themselves.

    Attributes:
        wanted: The files to read, known once `documents` has begun.
        skipped: What gave no document, complete once `documents` is exhausted.
    """

    paths: Sequence[Path]
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    sensitivity: Sequence[str] = ()
    wanted: set[Path] = field(default_factory=set, init=False)
    skipped: list[Skipped] = field(default_factory=list, init=False)

    def documents(self, progress: Progress) -> Iterator[Document]:
        """Yield the documents and keep what was skipped.

        Args:
            progress: Told of the files that are read, as the stage 'reading'.

        Raises:
            InputError: A path does not exist, or a pattern is malformed.
        """
        found = list(find_files(self.paths, include=self.include, exclude=self.exclude))
        self.wanted = {each.path for each in found if isinstance(each, FoundFile)}
        items = read_documents(self.paths, include=self.include, exclude=self.exclude)
        for number, item in enumerate(items, start=1):
            # A file of JSON Lines gives more than one item.
            progress("reading", number, max(number, len(found)))
            if isinstance(item, Document):
                yield tagged(item, self.sensitivity)
            else:
                self.skipped.append(item)

    def reasons(self) -> dict[str, list[Path]]:
        """Return what was skipped, by reason."""
        reasons: dict[str, list[Path]] = {}
        for each in self.skipped:
            reasons.setdefault(each.reason, []).append(each.path)
        return reasons

    @property
    def failed(self) -> bool:
        """Whether a file gave no document though it was to be read."""
        return any(each.path in self.wanted for each in self.skipped)

    def gone(self, collection: AnyCollection) -> list[str]:
        """Return the ids of documents from below the paths whose files are no longer there."""
        roots = [path.resolve() for path in self.paths]
        return [
            each.id
            for each in collection.documents()
            if (path := _path(each.uri)) and not path.exists()
            if any(path.is_relative_to(root) for root in roots)
        ]


def tagged(document: Document, sensitivity: Sequence[str]) -> Document:
    """Return a document with tags of sensitivity, its own where it states them."""
    if not sensitivity or "sensitivity" in document.metadata:
        return document
    return replace(document, metadata={**document.metadata, "sensitivity": list(sensitivity)})


def _path(uri: str) -> Path | None:
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
