"""Documents into the store, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

from rag.core.documents import Document, Passage
from rag.core.progress import Progress
from rag.core.protocols import Embedder
from rag.indexes.records import DocumentRecord, hash_text
from rag.indexes.store import Store
from rag.text.splitting import Splitter

_BATCH_DOCUMENTS = 1024
# Whoever else changes the collection waits while a batch is embedded.
_BATCH_CHARACTERS = 1 << 18


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


def batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Group documents so that a group fits in memory and is worth a transaction.

    A document that comes twice in a group is there once, as it came last.
    """
    batch: dict[str, Document] = {}
    characters = 0
    for document in documents:
        batch[document.id] = document
        characters += len(document.text)
        if len(batch) >= _BATCH_DOCUMENTS or characters >= _BATCH_CHARACTERS:
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
    texts = {
        hash_text(passage.indexed_text): passage.indexed_text
        for passages in split
        for passage in passages
    }
    with store.read() as snapshot:
        vector_ids = snapshot.vector_ids(texts)
    unknown = [text_hash for text_hash in texts if text_hash not in vector_ids]
    vectors = embedder.embed_passages([texts[each] for each in unknown], progress)

    with store.write() as transaction:
        updated = transaction.remove_documents(each.document.id for each in changed)
        vector_ids |= transaction.add_vectors(unknown, vectors)
        for record, passages in zip(changed, split, strict=True):
            transaction.add_document(record, passages, _vector_ids(passages, vector_ids))
    total = sum(map(len, split))
    return AddReport(
        added=len(changed) - updated,
        updated=updated,
        unchanged=len(records) - len(changed),
        passages=total,
        embedded=len(unknown),
        reused=total - len(unknown),
    )


def _vector_ids(passages: Iterable[Passage], vector_ids: dict[bytes, int]) -> list[int]:
    return [vector_ids[hash_text(passage.indexed_text)] for passage in passages]
