"""Documents into the store, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from rag.core.documents import Document, Passage
from rag.core.progress import Progress
from rag.core.protocols import Embedder, Vectors
from rag.indexes.records import DocumentRecord, hash_text
from rag.indexes.store import Store
from rag.text.splitting import Splitter

_BATCH_DOCUMENTS = 1024
# Whoever else changes the collection waits while a batch is embedded.
_BATCH_CHARACTERS = 1 << 18
_EMBEDDED_BATCH_BYTES = 64_000_000
"""A transaction touches pages all over the indexes of hashes and names, so large ones are fast."""

_Place = tuple[int, int]
"""A document's number in its batch, and a passage's number in the document."""

Embedded = tuple[Document, Sequence[Passage], Vectors]
"""A document, its passages, and their vectors, of shape (passages, dimension)."""


@dataclass(frozen=True, slots=True)
class AddReport:
    """What adding documents did; adds up with `+`.

    Args:
        added: Documents that are new.
        updated: Documents that replaced one of the same id.
        unchanged: Documents that were stored already, as they are.
        passages: Passages of the added and updated documents.
        embedded: Texts that were embedded.
        reused: Passages whose text had a vector already.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    passages: int = 0
    embedded: int = 0
    reused: int = 0

    def __add__(self, other: AddReport) -> AddReport:
        """Return the sum, field by field."""
        return AddReport(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(AddReport))
        )


def batches(
    documents: Iterable[Document],
    most_documents: int | None = None,
    most_characters: int | None = None,
) -> Iterator[list[Document]]:
    """Group documents so that a group fits in memory and is worth a transaction.

    A document that comes twice in a group is there once, as it came last.

    Args:
        documents: The documents.
        most_documents: How many a group holds at most; None means as many as a transaction does.
        most_characters: The length of text at which a group ends; None, that of a transaction.
    """
    most_documents = most_documents or _BATCH_DOCUMENTS
    most_characters = most_characters or _BATCH_CHARACTERS
    batch: dict[str, Document] = {}
    characters = 0
    for document in documents:
        batch[document.id] = document
        characters += len(document.text)
        if len(batch) >= most_documents or characters >= most_characters:
            yield list(batch.values())
            batch.clear()
            characters = 0
    if batch:
        yield list(batch.values())


def index_batch(
    store: Store,
    embedder: Embedder,
    splitter: Splitter,
    documents: Sequence[Document],
    progress: Progress,
) -> AddReport:
    """Split, embed and store documents in one transaction; what has not changed is passed over.

    Raises:
        InputError: A document cannot be stored or embedded; the store is as it was.
        StorageError: The disk refused; the store is as it was.
    """
    records = [DocumentRecord.of(document) for document in documents]
    with store.read() as snapshot:
        stored = snapshot.content_hashes(document.id for document in documents)
    changed = [each for each in records if stored.get(each.document.id) != each.content_hash]
    if not changed:
        return AddReport(unchanged=len(records))

    split = splitter.split([each.document for each in changed])

    def embed(places: Sequence[_Place]) -> Vectors:
        texts = [split[document][passage].indexed_text for document, passage in places]
        return embedder.embed_passages(texts, progress)

    report = _replace(store, changed, split, embed)
    return report + AddReport(unchanged=len(records) - len(changed))


def embedded_batches(contents: Iterable[Embedded]) -> Iterator[list[Embedded]]:
    """Group documents that are embedded already, so that a group fits in memory.

    A document that comes twice in a group is there once, as it came last.
    """
    batch: dict[str, Embedded] = {}
    size = 0
    for document, passages, vectors in contents:
        batch[document.id] = document, passages, vectors
        size += 2 * len(document.text) + vectors.nbytes  # its passages hold the text again
        if size >= _EMBEDDED_BATCH_BYTES:
            yield list(batch.values())
            batch.clear()
            size = 0
    if batch:
        yield list(batch.values())


def store_embedded(store: Store, batch: Sequence[Embedded]) -> AddReport:
    """Store documents that are embedded already in one transaction, in the way of `index_batch`.

    Raises:
        InputError: A document or a vector cannot be stored; the store is as it was.
        StorageError: The disk refused; the store is as it was.
    """
    records = [DocumentRecord.of(document) for document, _, _ in batch]
    with store.read() as snapshot:
        stored = snapshot.content_hashes(each.document.id for each in records)
    changed = [
        (record, passages, vectors)
        for record, (_, passages, vectors) in zip(records, batch, strict=True)
        if stored.get(record.document.id) != record.content_hash
    ]
    if not changed:
        return AddReport(unchanged=len(records))
    kept, split, vectors = zip(*changed, strict=True)

    def embed(places: Sequence[_Place]) -> Vectors:
        rows = [vectors[document][passage] for document, passage in places]
        return (
            np.stack(rows, dtype=np.float32)
            if rows
            else np.empty((0, store.codec.dimension), np.float32)
        )

    return _replace(store, kept, split, embed) + AddReport(unchanged=len(records) - len(changed))


def _replace(
    store: Store,
    records: Sequence[DocumentRecord],
    split: Sequence[Sequence[Passage]],
    embed: Callable[[Sequence[_Place]], Vectors],
) -> AddReport:
    """Store documents in the place of those of the same names.

    Args:
        store: The store.
        records: The documents.
        split: The passages of each.
        embed: Returns the vectors of passages, given their places in `split`; it is asked only
            for texts that have none.
    """
    hashes = [[hash_text(passage.indexed_text) for passage in passages] for passages in split]
    places: dict[bytes, _Place] = {}
    for document, of_one in enumerate(hashes):
        for passage, text_hash in enumerate(of_one):
            places.setdefault(text_hash, (document, passage))
    with store.read() as snapshot:
        vector_ids = snapshot.vector_ids(places)
    unknown = [text_hash for text_hash in places if text_hash not in vector_ids]
    vectors = embed([places[each] for each in unknown])

    with store.write() as transaction:
        known = transaction.content_hashes(each.document.id for each in records)
        updated = transaction.remove_documents(known)
        vector_ids |= transaction.add_vectors(unknown, vectors)
        numbered = [[vector_ids[each] for each in of_one] for of_one in hashes]
        transaction.add_documents(records, split, numbered)
    total = sum(map(len, split))
    return AddReport(
        added=len(records) - updated,
        updated=updated,
        passages=total,
        embedded=len(unknown),
        reused=total - len(unknown),
    )
