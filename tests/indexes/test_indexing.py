"""Documents that are embedded already go into the store as those do that are added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.core.documents import Document
from rag.core.errors import InputError, ReadOnly
from rag.indexes import Collection, indexing
from rag.indexes.indexing import Embedded
from rag.testing.embedders import HashEmbedder
from rag.text import Splitter

EMBEDDER = HashEmbedder(64)
PARAGRAPH = "These words are in more than one of them. " * 4 + "\n\n"


def embedded(documents: Sequence[Document]) -> Iterator[Embedded]:
    splitter = Splitter.of_embedder(EMBEDDER, 64, 4)
    for document in documents:
        (passages,) = splitter.split([document])
        yield document, passages, EMBEDDER.embed_passages([p.indexed_text for p in passages])


def contents(collection: Collection) -> dict[str, Any]:
    with collection._store.read() as snapshot:
        texts = {each.text_hash for _, stored in snapshot.contents() for each in stored}
        counts = snapshot.counts()
        assert counts.vectors >= len(texts)  # of removed documents, vectors stay until compacted
        return {document.id: (document, stored) for document, stored in snapshot.contents()}


DOCUMENTS = st.lists(
    st.builds(
        lambda name, copies, own, year: Document(
            name, PARAGRAPH * copies + own, metadata={"year": year}
        ),
        st.sampled_from("abcdef"),
        st.integers(0, 3),
        st.sampled_from(["", "herons", "terns and gulls"]),
        st.integers(2000, 2002),
    ),
    max_size=8,
)


@settings(max_examples=8, deadline=None)
@given(first=DOCUMENTS, second=DOCUMENTS, batch_bytes=st.sampled_from([1, 2000, 10**6]))
def test_embedded_documents_are_added_like_others(
    first: list[Document], second: list[Document], batch_bytes: int
) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        TemporaryDirectory() as folder,
        Collection.create(Path(folder, "a"), EMBEDDER, passage_tokens=64, overlap=4) as ours,
        Collection.create(Path(folder, "b"), EMBEDDER, passage_tokens=64, overlap=4) as theirs,
    ):
        patch.setattr(indexing, "_EMBEDDED_BATCH_BYTES", batch_bytes)
        for documents in (first, second):
            report = ours.add_embedded(embedded(documents))
            theirs.add(documents)
            assert contents(ours) == contents(theirs)
            assert report.embedded + report.reused == report.passages
            again = ours.add_embedded(embedded(list({d.id: d for d in documents}.values())))
            assert (again.added, again.updated, again.passages) == (0, 0, 0)


def test_what_was_committed_before_a_failure_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "_EMBEDDED_BATCH_BYTES", 1)
    documents = [Document(f"d{n}", f"Heron {n} waits.") for n in range(4)]

    def failing() -> Iterator[Embedded]:
        *good, (document, passages, _) = embedded(documents)
        yield from good
        yield document, passages, np.full((1, 64), np.inf, np.float32)

    with Collection.create(tmp_path / "c", EMBEDDER, passage_tokens=64, overlap=4) as collection:
        with pytest.raises(InputError, match="too large"):
            collection.add_embedded(failing())
        assert [each.id for each in collection.documents()] == ["d0", "d1", "d2"]
        ((hit,),) = collection.search_lexical(["heron 2"], 1)
        assert hit.passage.document_id == "d2"
        report = collection.add_embedded(embedded(documents))
        assert (report.added, report.unchanged) == (1, 3)
    with Collection.open(tmp_path / "c", EMBEDDER) as collection, pytest.raises(ReadOnly):
        collection.add_embedded(embedded(documents))


def test_vectors_of_another_dimension_are_refused(tmp_path: Path) -> None:
    document, passages, vectors = next(embedded([Document("d", "Heron.")]))
    with Collection.create(tmp_path / "c", EMBEDDER) as collection:
        with pytest.raises(InputError, match="dimension"):
            collection.add_embedded([(document, passages, vectors[:, :32])])
        assert collection.info().documents == 0
