"""What every collection has to do, wherever it is kept.

Inherit the suite in a test module and say how a collection is created, opened and imported::

    class TestMyCollection(CollectionConformance):
        def create(self, location, embedder, **options):
            return MyCollection.create(location, embedder, **options)

        def open(self, location, embedder=None, *, writable=False):
            return MyCollection.open(location, embedder, writable=writable)

        def import_(self, folder, location):
            return MyCollection.import_(folder, location)

        @pytest.fixture
        def locations(self, tmp_path):
            return (tmp_path / str(n) for n in itertools.count())
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rag.core.documents import Document, Passage
from rag.core.errors import (
    CollectionExists,
    CollectionNotFound,
    FilterError,
    InputError,
    ManifestMismatch,
    ReadOnly,
)
from rag.core.filters import Where, matches, parse_where
from rag.core.hits import Hit
from rag.core.progress import silent
from rag.core.protocols import Embedder, Vectors
from rag.testing.embedders import HashEmbedder

if TYPE_CHECKING:
    from rag.indexes.any_collection import AnyCollection, Location
    from rag.indexes.indexing import AddReport

EMBEDDER = HashEmbedder(512)

METADATA: tuple[dict[str, Any], ...] = (
    {"year": 2020, "tags": ["a", "b"], "lang": "en"},
    {"year": "2020", "lang": None},
    {"year": 2023.5, "tags": ["b", 3, None]},
    {"tags": [], "big": 2**53 + 1},
    {},
    {"year": True, "lang": 'qu"o\\te', "big": -(2**63)},
    {"größe": -1.5, "lang": "ä", "year": [1999, 2030, "x"]},
)
WHERES: tuple[Where, ...] = (
    {"year": 2020},
    {"year": 1},
    {"year": "2020"},
    {"year": {"ne": 2020}},
    {"year": {"gte": 2020}},
    {"year": {"gt": 2020, "lt": 2024}},
    {"year": {"lt": 2000}},
    {"year": {"lte": 1}},
    {"year": {"gt": ""}},
    {"not": {"year": {"gt": 2000}}},
    {"year": None},
    {"year": {"exists": True}},
    {"tags": {"exists": False}},
    {"tags": "b"},
    {"tags": None},
    {"tags": {"ne": "a"}},
    {"tags": {"in": ["a", 3]}},
    {"tags": {"in": []}},
    {"tags": {"not_in": ["a", None]}},
    {"lang": {"in": [None, "en"]}},
    {"lang": 'qu"o\\te'},
    {"lang": {"gte": "qu"}},
    {"big": {"gt": 2**53}},
    {"big": {"lt": 0.5}},
    {"größe": {"lt": 0}},
    {"or": [{"year": 2020}, {"tags": "b"}], "lang": {"exists": False}},
    {"not": {"and": [{"tags": "b"}, {"not": {"year": 2020}}]}},
    {"lang": '"] or number >= 0 or key in ["'},
    {},
)


class CountingEmbedder(HashEmbedder):
    """Counts the texts that it embeds."""

    def __init__(self) -> None:
        super().__init__(512)
        self.embedded = 0

    def embed_passages(self, texts: Sequence[str], progress: Any = silent) -> Vectors:
        """Embed passages."""
        self.embedded += len(texts)
        return super().embed_passages(texts, progress)


def word(number: int) -> str:
    """Return a word of its own for each number, which no analysis takes apart."""
    return "z" + "".join("bdfgklmnpr"[int(digit)] for digit in str(number)) + "x"


def documents(count: int, start: int = 0) -> list[Document]:
    """Return short documents; each has a word of its own, and all share two."""
    return [
        Document(f"d{n}", f"{word(n)} common text", f"Title {n}", f"file:{n}", {"n": n})
        for n in range(start, start + count)
    ]


def first_come(rankings: Sequence[Sequence[Hit]]) -> list[Hit]:
    """Fuse rankings by taking their hits in turn."""
    hits: dict[str, Hit] = {}
    for ranks in zip(*rankings, strict=False):
        for hit in ranks:
            hits.setdefault(hit.passage.id, hit)
    return list(hits.values())


class CollectionConformance:
    """The suite; `EMBEDDER` is what its collections are built with."""

    def create(self, location: Location, embedder: Embedder, **options: Any) -> AnyCollection:
        """Create a collection."""
        raise NotImplementedError

    def open(
        self, location: Location, embedder: Embedder | None = None, *, writable: bool = False
    ) -> AnyCollection:
        """Open a collection."""
        raise NotImplementedError

    def import_(self, folder: Path, location: Location) -> AnyCollection:
        """Import a collection."""
        raise NotImplementedError

    @pytest.fixture
    def locations(self, tmp_path: Path) -> Iterator[Location]:
        """Yield places for collections, each time another one."""
        raise NotImplementedError

    @pytest.fixture
    def collection(self, locations: Iterator[Location]) -> Iterator[AnyCollection]:
        """An empty collection, open for writing."""
        with self.create(next(locations), EMBEDDER) as collection:
            yield collection

    def test_what_was_added_is_found_both_ways(self, collection: AnyCollection) -> None:
        """A word finds its document, by vectors and by words, with all that belongs to it."""
        report = collection.add(documents(20))
        assert _done(report) == {"added": 20, "passages": 20, "embedded": 20}
        for part, search in _searches(collection).items():
            first, second = search([word(7), f"{word(3)} {word(4)}"], 2, None)
            assert first[0].passage == Passage(
                first[0].passage.id, "d7", f"{word(7)} common text", 0, len(first[0].passage.text),
                "Title 7", "", "file:7", {"n": 7},
            )  # fmt: skip
            assert (first[0].scores, first[0].ranks) == ({part: first[0].score}, {part: 1})
            assert {hit.passage.document_id for hit in second} == {"d3", "d4"}
            assert second[0].score >= second[1].score

    def test_scores_of_vectors_are_inner_products(self, collection: AnyCollection) -> None:
        """Whatever holds the vectors, their scores can be compared."""
        collection.add(documents(5))
        (hits,) = collection.search_dense(["common text"], 5)
        query = EMBEDDER.embed_queries(["common text"])[0]
        for hit in hits:
            (vector,) = EMBEDDER.embed_passages([hit.passage.indexed_text])
            assert hit.score == pytest.approx(float(query @ vector), abs=2e-3)

    def test_words_are_stemmed_and_compounds_have_parts(self, collection: AnyCollection) -> None:
        """Lexical search compares stems, parts of compounds, and words without accents."""
        text = "The DiffExecutors are measuring a café, IL6 included"
        collection.add([Document("a", text), *documents(9)])
        for query in ("measure", "executor", "diffexecutor", "Cafe", 'what "IL": (6', "MEASURES"):
            (hits,) = collection.search_lexical([query], 1)
            assert [hit.passage.document_id for hit in hits] == ["a"], query
        assert collection.search_lexical(["", "?!", "absent", "the"], 3)[:3] == [[], [], []]

    def test_nothing_is_found_in_an_empty_collection(self, collection: AnyCollection) -> None:
        """Finding nothing is no error."""
        for search in _searches(collection).values():
            assert search(["word"], 3, None) == [[]]
            assert search([], 3, None) == []
        assert _done(collection.add([])) == {}
        assert collection.remove(["absent"]) == 0
        assert list(collection.documents()) == []
        assert list(collection.passages()) == []
        assert collection.document_page(3) == ([], None)

    def test_fused_search_reads_what_fusion_chose(self, collection: AnyCollection) -> None:
        """Fusion gets a dense and a lexical ranking of each query, and its order is kept."""
        collection.add(documents(20))
        seen: list[tuple[int, int]] = []

        def fusion(rankings: Sequence[Sequence[Hit]]) -> list[Hit]:
            dense, lexical = rankings
            seen.append((len(dense), len(lexical)))
            return first_come(rankings)

        first, second = collection.search_fused(
            [word(3), "nowhere"], 2, {"n": {"lt": 10}}, candidates=6, fusion=fusion
        )
        assert seen == [(6, 1), (6, 0)]
        assert first[0].passage.text == f"{word(3)} common text"
        assert len(first) == 1 + (len(second) > 0)
        assert all(hit.passage.metadata["n"] < 10 for hit in first)  # type: ignore[operator]

    def test_adding_again_changes_nothing(self, collection: AnyCollection) -> None:
        """Unchanged documents are passed over."""
        collection.add(documents(5))
        before = collection.info()
        assert _done(collection.add(documents(5))) == {"unchanged": 5}
        assert collection.info() == before

    def test_a_changed_document_replaces_the_old_one(self, collection: AnyCollection) -> None:
        """Nothing of the old one is found, and the others stay."""
        collection.add(documents(5))
        report = collection.add([replace(documents(5)[2], text="other words")])
        assert _done(report) == {"updated": 1, "passages": 1, "embedded": 1}
        assert collection.document("d2").text == "other words"
        assert collection.search_lexical([word(2)], 5) == [[]]
        (hits,) = collection.search_dense(["other words"], 9)
        assert [hit.passage.document_id for hit in hits].count("d2") == 1
        assert hits[0].passage.text == "other words"
        assert len(hits) == collection.info().passages == 5
        assert collection.verify().problems == ()

    def test_a_text_is_embedded_once(self, locations: Iterator[Location]) -> None:
        """Neither equal texts nor changed metadata embed a text again."""
        embedder = CountingEmbedder()
        with self.create(next(locations), embedder) as collection:
            report = collection.add([Document(f"d{n}", "the same") for n in range(3)])
            assert _done(report) == {"added": 3, "passages": 3, "embedded": 1, "reused": 2}
            report = collection.add([Document("d1", "the same", metadata={"n": 1})])
            assert _done(report) == {"updated": 1, "passages": 1, "reused": 1}
            assert embedder.embedded == 1
            for search in _searches(collection).values():
                assert len(search(["the same"], 9, None)[0]) == 3
                assert len(search(["the same"], 9, {"n": 1})[0]) == 1

    def test_the_last_of_equal_ids_counts(self, collection: AnyCollection) -> None:
        """A document that comes twice in one call is there as it came last."""
        collection.add([Document("a", "first"), Document("a", "second")])
        assert collection.document("a").text == "second"
        assert collection.info().documents == 1

    def test_an_unusable_document_is_refused_by_name(self, collection: AnyCollection) -> None:
        """Its batch is not stored."""
        collection.add(documents(2))
        with pytest.raises(InputError, match="'bad'"):
            collection.add([*documents(2, 2), Document("bad", "\ud800")])
        assert collection.info().documents == 2
        assert collection.verify().problems == ()

    def test_removing_by_id_and_by_filter(self, collection: AnyCollection) -> None:
        """What is removed is found by neither way."""
        collection.add(documents(10))
        assert collection.remove(["d1", "unknown", 'd"']) == 1
        assert collection.remove(where={"n": {"gte": 8}}) == 2
        assert collection.remove(["d0"], where={"n": 2}) == 2
        assert [each.id for each in collection.documents()] == ["d3", "d4", "d5", "d6", "d7"]
        for removed in (0, 1, 2, 8, 9):
            assert collection.search_lexical([word(removed)], 10) == [[]]
            assert len(collection.search_dense([word(removed)], 10)[0]) == 5
        with pytest.raises(InputError, match="d1"):
            collection.document("d1")
        assert collection.verify().problems == ()
        report = collection.add(documents(10))
        assert (report.added, report.unchanged) == (5, 5)

    def test_filters_mean_what_matches_means(self, collection: AnyCollection) -> None:
        """Searches, listings and removals agree with `rag.core.filters.matches`."""
        rows = [
            Document(f"m{n}", "common text", metadata=metadata)
            for n, metadata in enumerate(METADATA)
        ]
        collection.add(rows)
        for where in WHERES:
            condition = parse_where(where)
            expected = {each.id for each in rows if matches(condition, each.metadata)}
            assert {each.id for each in collection.documents(where)} == expected, where
            for search in _searches(collection).values():
                (hits,) = search(["common text"], 99, where)
                assert {hit.passage.document_id for hit in hits} == expected, where
        kept = {each.id for each in rows if not matches(parse_where(WHERES[4]), each.metadata)}
        assert collection.remove(where=WHERES[4]) == len(rows) - len(kept)
        assert {each.id for each in collection.documents()} == kept

    def test_a_selective_filter_returns_as_many_as_match(self, collection: AnyCollection) -> None:
        """A filter is no cut through a ranking."""
        collection.add(documents(300))
        where = {"n": {"in": [3, 77, 299]}}
        for search in _searches(collection).values():
            (hits,) = search(["common text"], 10, where)
            assert {hit.passage.document_id for hit in hits} == {"d3", "d77", "d299"}
            assert len(search(["common text"], 2, where)[0]) == 2

    def test_what_cannot_be_asked_is_refused(self, collection: AnyCollection) -> None:
        """Bad arguments are errors, not empty results."""
        for search in _searches(collection).values():
            with pytest.raises(InputError, match="top_k"):
                search(["x"], 0, None)
            for where in ({"n": {"about": 3}}, {"n": 2**63}, {"n": {"in": ["\ud800"]}}):
                with pytest.raises(FilterError):
                    search(["x"], 1, where)
        with pytest.raises(FilterError):
            collection.remove(where={"or": []})

    def test_documents_come_back_as_they_were(self, collection: AnyCollection) -> None:
        """Text of any length and script, and metadata of every type."""
        rows = [
            Document("Ünï/códe \0'\"\\.md", "naïve \U0001f600 \0 text", "Tïtle", "file:ä?b#c"),
            Document("long", "häufige Wörter \U0001f600 und mehr. " * 5_000, "L" * 9_000),
            Document("empty", ""),
            Document("x" * 5_000, "text"),
            *(Document(f"m{n}", "text", metadata=each) for n, each in enumerate(METADATA)),
            Document("reals", "text", metadata={"r": [0.1, 1e300, -0.0, 5e-324], "i": 2**63 - 1}),
        ]
        assert len(rows[1].text.encode()) > 2 * 65_535
        collection.add(rows)
        for each in rows:
            assert collection.document(each.id) == each
        infos = list(collection.documents())
        assert [(each.id, each.title, each.uri) for each in infos] == [
            (each.id, each.title, each.uri) for each in rows
        ]
        assert [each.metadata for each in infos] == [each.metadata for each in rows]
        assert type(infos[-1].metadata["i"]) is int
        assert _done(collection.add(rows)) == {"unchanged": len(rows)}

    def test_passages_are_at_their_place(self, collection: AnyCollection) -> None:
        """A citation of a passage is a range of its document's text."""
        text = "# One\n\n" + "some wörds \U0001f600 here. " * 300 + "\n\n## Two\n\nthe very end"
        collection.add([Document("long", text, "Title", metadata={"format": "markdown"})])
        passages = list(collection.passages())
        assert len(passages) == collection.info().passages > 3
        assert [each.start for each in passages] == sorted(each.start for each in passages)
        for search in _searches(collection).values():
            passages += [hit.passage for hit in search(["the very end", "some words"], 9, None)[0]]
        for each in passages:
            assert text[each.start : each.end] == each.text
        assert passages[-1].heading

    def test_documents_are_listed_page_by_page(self, collection: AnyCollection) -> None:
        """Where a page begins does not depend on what is there meanwhile."""
        collection.add(documents(5))
        names = [each.id for each in documents(5)]
        pages, after = [], 0
        while True:
            page, following = collection.document_page(2, after)
            pages.append([each.id for each in page])
            if following is None:
                break
            after = following
            collection.remove(names[3:4])
        assert pages == [names[:2], [names[2], names[4]]]

    def test_batches_are_told_of(self, collection: AnyCollection) -> None:
        """Each batch is reported, and progress is of documents and of embedding."""
        told: list[tuple[str, int, int | None]] = []
        reports = list(
            collection.add_batches(documents(3), progress=lambda *each: told.append(each))
        )
        assert [each.added for each in reports] == [3]
        assert ("documents", 3, None) in told
        assert ("embedding", 3, 3) in told

    def test_it_can_be_opened_again(self, collection: AnyCollection) -> None:
        """Another one sees what was stored, with its manifest, before and after closing."""
        collection.add(documents(5))
        with self.open(collection.path, EMBEDDER) as reader:
            assert reader.manifest == collection.manifest
            assert reader.info() == collection.info()
            collection.add(documents(1, 5))
            assert reader.search_lexical([word(5)], 1)[0][0].passage.document_id == "d5"
            assert reader.search_dense([word(5)], 1)[0][0].passage.document_id == "d5"
        collection.close()
        collection.close()
        with self.open(collection.path, EMBEDDER, writable=True) as again:
            assert _done(again.add(documents(6))) == {"unchanged": 6}
            assert again.embedder is EMBEDDER

    def test_a_reader_does_not_write(self, collection: AnyCollection) -> None:
        """What is open for reading refuses changes."""
        collection.add(documents(1))
        with self.open(collection.path, EMBEDDER) as reader:
            for write in (
                lambda: reader.add(documents(2)),
                lambda: reader.add_embedded([]) and reader.add(documents(2)),
                lambda: reader.remove(["d0"]),
                reader.compact,
                lambda: reader.verify(repair=True),
            ):
                with pytest.raises(ReadOnly, match="for reading"):
                    write()
            assert reader.info().documents == 1

    def test_another_embedder_is_refused(self, collection: AnyCollection) -> None:
        """The error says what differs."""
        with pytest.raises(ManifestMismatch) as caught:
            self.open(collection.path, HashEmbedder(512, query_prefix="q: "))
        assert caught.value.field == "embedder.query_prefix"

    def test_what_is_not_there_or_there_already_is_refused(
        self, collection: AnyCollection, locations: Iterator[Location]
    ) -> None:
        """Opening makes nothing, and creating overwrites nothing."""
        with pytest.raises(CollectionNotFound):
            self.open(next(locations))
        collection.add(documents(1))
        with pytest.raises(CollectionExists):
            self.create(collection.path, EMBEDDER)
        assert collection.info().documents == 1
        for options in ({"index": "annoy"}, {"passage_tokens": 1}, {"codes": "pq"}):
            with pytest.raises(InputError):
                self.create(next(locations), EMBEDDER, **options)

    def test_compacting_keeps_what_is_there(self, collection: AnyCollection) -> None:
        """Only the room of what was removed is given back."""
        collection.add(documents(30))
        collection.remove(where={"n": {"gte": 10}})
        collection.compact()
        assert collection.info().documents == 10
        for search in _searches(collection).values():
            assert search([word(3)], 1, None)[0][0].passage.document_id == "d3"
        assert collection.verify().problems == ()

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_an_export_comes_back_as_it_was(
        self, locations: Iterator[Location], tmp_path: Path, dtype: str
    ) -> None:
        """Documents, passages and vectors move without embedding."""
        pytest.importorskip("pyarrow")
        rows = [*documents(20), Document("empty", ""), Document("long", "some words. " * 400)]
        with self.create(next(locations), EMBEDDER, vector_dtype=dtype) as collection:
            collection.add(rows)
            collection.export(tmp_path / "export")
            with self.import_(tmp_path / "export", next(locations)) as copy:
                assert copy.manifest == collection.manifest
                assert list(copy.documents()) == list(collection.documents())
                assert list(copy.passages()) == list(collection.passages())
                assert [copy.document(each.id) for each in rows] == rows
                assert copy.verify().problems == ()
                copy.export(tmp_path / "again")
        for part in ("documents", "passages"):
            first, second = (
                [file.read_bytes() for file in sorted((tmp_path / folder).glob(f"{part}-*"))]
                for folder in ("export", "again")
            )
            assert first == second

    def test_a_broken_export_makes_no_collection(
        self, collection: AnyCollection, locations: Iterator[Location], tmp_path: Path
    ) -> None:
        """An import happens whole or not at all."""
        pytest.importorskip("pyarrow")
        collection.add(documents(3))
        collection.export(tmp_path / "export")
        about = tmp_path / "export" / "export.json"
        about.write_text(about.read_text().replace('"passages": 3', '"passages": 4'))
        target = next(locations)
        with pytest.raises(InputError, match="4"):
            self.import_(tmp_path / "export", target)
        with pytest.raises(CollectionNotFound):
            self.open(target)


def _done(report: AddReport) -> dict[str, int]:
    """Return the counts of a report that are not 0."""
    return {name: count for name, count in asdict(report).items() if count}


def _searches(collection: AnyCollection) -> dict[str, Any]:
    return {"dense": collection.search_dense, "lexical": collection.search_lexical}
