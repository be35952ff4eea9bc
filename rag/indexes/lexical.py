"""The lexical index: BM25 over passages, on tantivy.

BM25 is the Okapi weighting of Robertson et al. (TREC-3, 1994) with tantivy's k1 = 1.2 and
b = 0.75, over the words of `rag.indexes.analysis`. A query is a bag of words: it goes through the
same analysis and is never read as query syntax, so quotes, colons and `AND` are ordinary text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rag.core.documents import Passage
from rag.core.errors import CollectionCorrupt, StorageError
from rag.indexes.analysis import analyzer, passage_text, query_words
from rag.indexes.vectors import VectorHits

if TYPE_CHECKING:
    import tantivy

_ANALYSIS = "english-1"
"""Name of the analysis in the stored schema; a change of the analysis needs a new name."""

_MARKER = -1
"""Id of the one record that is no passage: it carries the generation into each commit."""

_WRITER_BYTES = 128_000_000
_LARGEST_ID_QUERY = 1_000
"""Up to so many ids are looked up; with more, reading on and dropping the others is faster."""


class LexicalIndex:
    """Passages by the words in them; `open` makes one.

    One writer at a time and any number of readers. A commit is atomic: after a kill the index is
    as it was before or after it.

    Attributes:
        generation: Generation of the store at the commit that this object sees; 0 when empty.
    """

    def __init__(self, path: Path, index: tantivy.Index) -> None:
        self._path = path
        self._index = index
        self._schema = index.schema
        self._writer: tantivy.IndexWriter | None = None
        index.register_tokenizer(_ANALYSIS, analyzer())
        index.config_reader("manual")
        self.refresh()

    @classmethod
    def open(cls, path: Path, *, writable: bool) -> LexicalIndex:
        """Open the index in a directory.

        Args:
            path: The directory.
            writable: Whether to create the index where there is none.

        Raises:
            CollectionCorrupt: The directory holds no index that this version can read.
            StorageError: The index cannot be created.
        """
        import tantivy

        if writable and not (path / "meta.json").exists():
            with _storing(path):
                path.mkdir(parents=True, exist_ok=True)
                return cls(path, tantivy.Index(_schema(), str(path)))
        with _reading(path):
            index = tantivy.Index.open(str(path))
            if index.schema != _schema():
                raise ValueError("another version wrote it")
            return cls(path, index)

    def update(
        self, *, add: Iterable[tuple[int, Passage]], remove: Iterable[int], generation: int
    ) -> None:
        """Remove and add passages in one commit.

        Args:
            add: Ids, at least 0, with their passages; a known id is replaced.
            remove: Ids to remove; unknown ones are passed over.
            generation: The store's generation that the index is at afterwards.

        Raises:
            StorageError: The disk refused; the index is as it was.
        """
        with _storing(self._path):
            if self._writer is None:
                # One thread, so that the same calls always build the same index.
                self._writer = self._index.writer(_WRITER_BYTES, num_threads=1)
                # A commit that was killed leaves files whose names the next one would take.
                self._writer.garbage_collect_files()
            try:
                for number in remove:
                    self._writer.delete_documents_by_term("id", number)
                for number, passage in add:
                    self._replace(self._writer, number, text=passage_text(passage))
                self._replace(self._writer, _MARKER, generation=generation)
                self._writer.commit()
            except BaseException:
                # Nothing is committed, and without its writer the directory is free again.
                self._writer = None
                raise
        self.refresh()

    def refresh(self) -> None:
        """See the latest commit.

        Raises:
            CollectionCorrupt: Its files cannot be read.
        """
        import tantivy

        with _reading(self._path):
            self._index.reload()
            searcher = self._index.searcher()
            marker = tantivy.Query.term_query(self._schema, "id", _MARKER)
            found, _ = _read(searcher, marker, 1, "generation")
        self._searcher = searcher
        self.generation = int(found[0]) if len(found) else 0

    def search(
        self,
        queries: Sequence[str],
        top_k: int,
        ids: npt.NDArray[np.int64] | None = None,
    ) -> list[VectorHits]:
        """Return the passages that share words with each query.

        Args:
            queries: Questions or keywords, as plain text.
            top_k: Hits for a query, at most.
            ids: The only ids to return; `top_k` of them come back if that many match.

        Returns:
            Ids and BM25 scores for each query, best first, equal scores by id.
        """
        import tantivy

        only = None
        depth = top_k + 1
        if ids is not None and len(ids) <= _LARGEST_ID_QUERY:
            chosen = tantivy.Query.term_set_query(self._schema, "id", ids.tolist())
            only = tantivy.Query.const_score_query(chosen, 0.0)
            ids = None
        elif ids is not None:
            # Twice as deep as needed if the ids were spread evenly.
            depth = max(depth, 2 * depth * len(self) // len(ids))
        return [self._search(self._parse(query, only), top_k, depth, ids) for query in queries]

    def ids(self) -> npt.NDArray[np.int64]:
        """Return the ids of all passages, ascending."""
        import tantivy

        everything = tantivy.Query.all_query()
        found, _ = _read(self._searcher, everything, len(self) + 1, "id")
        return np.sort(found[found != _MARKER])

    def __len__(self) -> int:
        """Return the number of passages."""
        return max(0, int(self._searcher.num_docs) - 1)

    def close(self) -> None:
        """Wait for merges under way and let the directory go."""
        if self._writer is not None:
            self._writer.wait_merging_threads()
            self._writer = None

    def _parse(self, query: str, only: tantivy.Query | None) -> tantivy.Query:
        """Return a query for any of the words, within the passages that match `only`."""
        import tantivy

        must, should = tantivy.Occur.Must, tantivy.Occur.Should
        words = [
            tantivy.Query.term_query(self._schema, "text", word) for word in query_words(query)
        ]
        any_word = tantivy.Query.boolean_query([(should, word) for word in words])
        if only is None:
            return any_word
        return tantivy.Query.boolean_query([(must, only), (must, any_word)])

    def _search(
        self,
        query: tantivy.Query,
        top_k: int,
        depth: int,
        ids: npt.NDArray[np.int64] | None,
    ) -> VectorHits:
        """Read ever deeper until `top_k` hits and all their ties are there."""
        # Another thread may refresh meanwhile; addresses hold for one searcher only.
        searcher = self._searcher
        everything = searcher.num_docs + 1
        while True:
            depth = min(depth, everything)
            found, scores = _read(searcher, query, depth, "id")
            lowest = scores[-1] if len(found) == depth < everything else -np.inf
            if ids is not None:
                allowed = np.isin(found, ids)
                found, scores = found[allowed], scores[allowed]
            if lowest == -np.inf or (len(found) >= top_k and lowest < scores[top_k - 1]):
                order = np.lexsort((found, -scores))[:top_k]
                return VectorHits(found[order], scores[order])
            depth *= 4

    @staticmethod
    def _replace(writer: tantivy.IndexWriter, number: int, **fields: str | int) -> None:
        import tantivy

        writer.delete_documents_by_term("id", number)
        writer.add_document(tantivy.Document(id=number, **fields))


def _read(
    searcher: tantivy.Searcher, query: tantivy.Query, depth: int, field: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return one field of the best `depth` records, and their scores."""
    hits = searcher.search(query, depth, count=False).hits
    values = searcher.fast_field_values(field, [address for _, address in hits])
    return np.array(values, np.int64), np.array([score for score, _ in hits], np.float32)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise CollectionCorrupt(
            str(path), f"the lexical index cannot be read ({error}); rebuild it"
        ) from error


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        raise StorageError(
            str(path), f"the lexical index cannot be written: {error}; make room or allow writing"
        ) from error


def _schema() -> tantivy.Schema:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("id", indexed=True, fast=True)
    builder.add_integer_field("generation", fast=True)
    builder.add_text_field("text", tokenizer_name=_ANALYSIS, index_option="freq")
    return builder.build()
