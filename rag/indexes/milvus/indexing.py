"""Documents onto Milvus, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rag.core.documents import Document
from rag.core.progress import Progress
from rag.core.protocols import Embedder, Vectors
from rag.indexes.indexing import AddReport, Embedded
from rag.indexes.milvus.rows import key_of
from rag.indexes.milvus.store import MilvusStore
from rag.indexes.records import DocumentRecord, hash_text
from rag.text.splitting import Splitter


def index_batch(
    store: MilvusStore,
    embedder: Embedder,
    splitter: Splitter,
    documents: Sequence[Document],
    progress: Progress,
) -> AddReport:
    """Split, embed and write documents; what has not changed is passed over.

    Raises:
        InputError: A document cannot be stored or embedded; nothing is written.
        StorageError: Milvus refused; the same call again mends what is half done.
    """
    changed = _changed(store, documents)
    split = splitter.split([each.document for each in changed])
    texts = {
        hash_text(passage.indexed_text): passage.indexed_text
        for passages in split
        for passage in passages
    }
    vectors = store.vectors(texts)
    unknown = [text_hash for text_hash in texts if text_hash not in vectors]
    embedded = embedder.embed_passages([texts[each] for each in unknown], progress)
    vectors |= _as_stored(store, dict(zip(unknown, embedded, strict=True)))
    updated = store.replace(changed, split, vectors) if changed else 0
    total = sum(map(len, split))
    return AddReport(
        added=len(changed) - updated,
        updated=updated,
        unchanged=len(documents) - len(changed),
        passages=total,
        embedded=len(unknown),
        reused=total - len(unknown),
    )


def store_embedded(store: MilvusStore, batch: Sequence[Embedded]) -> AddReport:
    """Write documents that are embedded already, in the way of `index_batch`.

    Raises:
        InputError: A document or a vector cannot be stored; nothing is written.
        StorageError: Milvus refused; the same call again mends what is half done.
    """
    changed = _changed(store, [document for document, _, _ in batch])
    given = {document.id: (passages, vectors) for document, passages, vectors in batch}
    split = [given[each.document.id][0] for each in changed]
    vectors = {
        hash_text(passage.indexed_text): vector
        for each in changed
        for passage, vector in zip(*given[each.document.id], strict=True)
    }
    updated = store.replace(changed, split, _as_stored(store, vectors)) if changed else 0
    total = sum(map(len, split))
    return AddReport(
        added=len(changed) - updated,
        updated=updated,
        unchanged=len(batch) - len(changed),
        passages=total,
        embedded=len(vectors),
        reused=total - len(vectors),
    )


def _changed(store: MilvusStore, documents: Sequence[Document]) -> list[DocumentRecord]:
    """Return the records of those documents that are not stored as they are."""
    records = [DocumentRecord.of(document) for document in documents]
    stored = store.records(key_of(document.id) for document in documents)
    changed = []
    for record in records:
        known = stored.get(key_of(record.document.id))
        if known is None or known.contents != (record.content_hash,):
            changed.append(record)
    return changed


def _as_stored(store: MilvusStore, vectors: dict[bytes, Vectors]) -> dict[bytes, Vectors]:
    """Return vectors as the codec keeps them: rounded alike in every collection."""
    codec = store.manifest.codec
    rows = np.array(list(vectors.values()), np.float32).reshape(-1, codec.dimension)
    return dict(zip(vectors, codec.decode(codec.encode(rows), ""), strict=True))
