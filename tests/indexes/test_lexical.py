"""The lexical index: ranking, analysis, filters, commits, and what is left after a kill."""

import json
import resource
import signal
import subprocess
import sys
import time
from math import log

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.core.documents import Passage
from rag.core.errors import CollectionCorrupt, StorageError
from rag.indexes.lexical import LexicalIndex


def passage(text, title=""):
    return Passage("p", "d", text, 0, len(text), title=title)


def fill(index, texts, *, remove=(), generation=1):
    index.update(
        add=[(number, passage(text)) for number, text in texts.items()],
        remove=remove,
        generation=generation,
    )


def found(index, query, top_k=10, ids=None):
    (hits,) = index.search([query], top_k, ids)
    return hits.ids.tolist()


@pytest.fixture
def index(tmp_path):
    index = LexicalIndex.open(tmp_path / "lexical", writable=True)
    yield index
    index.close()


class TestUpdates:
    def test_a_new_index_is_empty(self, index):
        assert len(index) == 0
        assert index.generation == 0
        assert index.ids().tolist() == []
        assert found(index, "fox") == []
        assert found(index, "fox", ids=np.array([1, 2])) == []
        assert found(index, "fox", ids=np.arange(2000)) == []

    def test_adds_removes_and_replaces_in_one_commit(self, index):
        fill(index, {1: "red fox", 2: "grey wolf", 3: "brown bear"}, generation=4)
        fill(index, {2: "white owl", 7: "red deer"}, remove=[3, 99], generation=5)
        assert index.generation == 5
        assert len(index) == 3
        assert index.ids().tolist() == [1, 2, 7]
        assert sorted(found(index, "red")) == [1, 7]
        assert found(index, "wolf bear") == []
        assert found(index, "owl") == [2]

    def test_reopens_as_it_was(self, index, tmp_path):
        fill(index, {5: "red fox"}, generation=12)
        index.close()
        reopened = LexicalIndex.open(tmp_path / "lexical", writable=False)
        assert reopened.generation == 12
        assert found(reopened, "fox") == [5]

    def test_a_closed_index_can_be_searched_and_updated(self, index):
        fill(index, {1: "red fox"})
        index.close()
        assert found(index, "fox") == [1]
        fill(index, {2: "grey fox"}, generation=2)
        assert found(index, "grey") == [2]

    def test_a_reader_sees_a_commit_when_it_refreshes(self, index, tmp_path):
        fill(index, {1: "red fox"})
        reader = LexicalIndex.open(tmp_path / "lexical", writable=False)
        fill(index, {2: "grey fox"}, remove=[1], generation=2)
        assert (found(reader, "fox"), reader.generation) == ([1], 1)
        reader.refresh()
        assert (found(reader, "fox"), reader.generation) == ([2], 2)

    def test_an_interrupted_update_leaves_the_last_commit(self, index):
        fill(index, {1: "red fox"})

        def interrupted():
            yield 2, passage("grey wolf")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            index.update(add=interrupted(), remove=[1], generation=2)
        fill(index, {3: "brown bear"}, generation=2)
        assert index.ids().tolist() == [1, 3]


class TestRanking:
    def test_scores_are_bm25(self, index):
        texts = {1: "fox", 2: "fox fox wolf", 3: "wolf bear owl deer", 4: "fox wolf", 5: "deer"}
        fill(index, texts)
        documents = {number: text.split() for number, text in texts.items()}
        # The record that carries the generation counts as an empty document.
        count = len(documents) + 1
        mean_length = sum(map(len, documents.values())) / count

        def bm25(words, term, k1=1.2, b=0.75):
            frequency = words.count(term)
            holding = sum(term in each for each in documents.values())
            inverse = log(1 + (count - holding + 0.5) / (holding + 0.5))
            length = k1 * (1 - b + b * len(words) / mean_length)
            return inverse * (k1 + 1) * frequency / (frequency + length)

        (hits,) = index.search(["fox wolf"], 10)
        expected = {n: bm25(w, "fox") + bm25(w, "wolf") for n, w in documents.items()}
        expected = {number: score for number, score in expected.items() if score}
        assert dict(zip(hits.ids.tolist(), hits.scores, strict=True)) == pytest.approx(expected)
        assert hits.scores.tolist() == sorted(hits.scores, reverse=True)
        assert hits.ids.dtype == np.int64
        assert hits.scores.dtype == np.float32

    def test_a_title_counts_twice(self, index):
        texts = {1: "fox one two three", 2: "fox fox one two three", 3: "wolf"}
        fill(index, texts)
        index.update(add=[(4, passage("one two three", title="fox"))], remove=[], generation=2)
        (hits,) = index.search(["fox"], 3)
        scores = dict(zip(hits.ids.tolist(), hits.scores, strict=True))
        assert scores[4] == pytest.approx(scores[2])
        assert scores[4] > scores[1]

    def test_ties_are_in_order_of_ids_also_at_the_cut(self, index):
        numbers = np.random.default_rng(0).permutation(60).tolist()
        for generation in range(6):
            part = numbers[10 * generation : 10 * (generation + 1)]
            fill(index, dict.fromkeys(part, "red fox"), generation=generation)
        fill(index, {100: "red fox fox"}, generation=7)
        assert found(index, "fox", 5) == [100, 0, 1, 2, 3]
        assert found(index, "fox", 1000) == [100, *range(60)]

    def test_a_batch_is_its_queries(self, index):
        fill(index, {1: "red fox", 2: "grey fox", 3: "grey wolf"})
        batch = index.search(["fox", "", "grey"], 2)
        assert [hits.ids.tolist() for hits in batch] == [[1, 2], [], [2, 3]]


class TestAnalysis:
    @pytest.mark.parametrize(
        ("text", "query"),
        [
            ("Foxes were RUNNING", "fox run"),
            ("café in Łódź", "cafe lodz"),
            ("Einstein's theory", "einstein"),
            ("state-of-the-art", "art"),
            ("class DiffExecutor:", "diff executor"),
            ("class DiffExecutor:", "diffexecutor"),
            ("a diff executor", "DiffExecutor"),
            ("IL-6 levels", "IL6"),
            ("IL6 levels", "IL-6"),
            ("snake_case_name", "case"),
            ("東京 is a city", "東京"),
        ],
    )
    def test_a_query_finds_the_text(self, index, text, query):
        fill(index, {1: text, 2: "something else entirely"})
        assert found(index, query) == [1]

    def test_function_words_count_only_alone(self, index):
        fill(index, {1: "who are the who", 2: "a fox"})
        assert found(index, "who is the fox") == [2]
        assert found(index, "the who") == [1]

    @given(st.text(max_size=60))
    @settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_no_query_is_syntax(self, index, query):
        if len(index) == 0:
            fill(index, {1: "red fox", 2: "AND OR NOT", 3: "title text id"})
        assert set(found(index, f"fox {query}")) >= {1}

    @pytest.mark.parametrize("query", ['"', "fox AND", "id:1", "(", "text:[a TO b]", "-fox", "*"])
    def test_syntax_is_text(self, index, query):
        fill(index, {1: "red fox", 2: "grey wolf"})
        assert set(found(index, query)) == ({1} if "fox" in query else set())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    index = LexicalIndex.open(tmp_path_factory.mktemp("filter") / "lexical", writable=True)
    rng = np.random.default_rng(1)
    words = np.array([f"zq{first}{last}" for first in "aeiou" for last in "bdfgkmnp"])
    texts = {n: " ".join(rng.choice(words, rng.integers(3, 12))) for n in range(4000)}
    fill(index, texts)
    yield index
    index.close()


class TestIdFilter:
    # Few ids are looked up, many are kept out of a deeper ranking; both have to be exact.
    @pytest.mark.parametrize("size", [0, 1, 40, 1000, 1001, 3000, 4000])
    @pytest.mark.parametrize("top_k", [1, 10, 5000])
    def test_is_the_ranking_without_the_others(self, corpus, size, top_k):
        ids = np.random.default_rng(size).choice(4000, size, replace=False)
        allowed = set(ids.tolist())
        for query in ("zqab zqed zqif", "zqok", "nothing"):
            everything = found(corpus, query, 4000)
            expected = [number for number in everything if number in allowed][:top_k]
            assert found(corpus, query, top_k, ids) == expected

    def test_finds_the_last_of_the_ranking(self, corpus):
        everything = found(corpus, "zqum", 4000)
        rare = np.array([everything[-1], *(set(range(4000)) - set(everything))])
        assert len(rare) > 1000
        assert found(corpus, "zqum", 3, rare) == [everything[-1]]


class TestDamage:
    @pytest.fixture
    def folder(self, tmp_path):
        index = LexicalIndex.open(tmp_path / "lexical", writable=True)
        fill(index, {1: "red fox"}, generation=3)
        index.close()
        return tmp_path / "lexical"

    def test_nothing_to_read(self, tmp_path):
        with pytest.raises(CollectionCorrupt, match="nowhere"):
            LexicalIndex.open(tmp_path / "nowhere", writable=False)

    @pytest.mark.parametrize("pattern", ["meta.json", "*.term", "*.idx", "*.fast", "*.fieldnorm"])
    @pytest.mark.parametrize("writable", [True, False])
    def test_a_cut_file(self, folder, pattern, writable):
        (file,) = folder.glob(pattern)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(CollectionCorrupt, match="rebuild"):
            LexicalIndex.open(folder, writable=writable)

    def test_another_version(self, folder):
        meta = json.loads((folder / "meta.json").read_text())
        (text,) = (field for field in meta["schema"] if field["name"] == "text")
        text["options"]["indexing"]["tokenizer"] = "english-0"
        (folder / "meta.json").write_text(json.dumps(meta))
        with pytest.raises(CollectionCorrupt, match="another version"):
            LexicalIndex.open(folder, writable=True)

    def test_no_place_to_create_it(self, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(StorageError, match="file"):
            LexicalIndex.open(tmp_path / "file" / "lexical", writable=True)

    @pytest.mark.parametrize("limit", [100, 3_000, 20_000])
    def test_a_full_disk_loses_nothing(self, index, limit):
        fill(index, {1: "red fox", 2: "grey fox"})
        more = {n: " ".join(f"w{n}x{m}" for m in range(50)) for n in range(10, 510)}
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Writes beyond the limit fail in every file of this process, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(StorageError):
                fill(index, more, remove=[1], generation=2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (found(index, "fox"), index.generation) == ([1, 2], 1)
        fill(index, more, remove=[1], generation=2)
        assert (found(index, "fox"), index.generation, len(index)) == ([2], 2, 501)


_ENDLESS_WRITER = """
import sys
from pathlib import Path
from rag.core.documents import Passage
from rag.indexes.lexical import LexicalIndex

index = LexicalIndex.open(Path(sys.argv[1]), writable=True)
generation = index.generation
while True:
    generation += 1
    # Each generation adds ten passages and removes five of the one before.
    add = [(10 * generation + n, Passage("p", "d", f"fox {n}", 0, 5)) for n in range(10)]
    index.update(
        add=add, remove=[10 * (generation - 1) + n for n in range(5)], generation=generation
    )
    print(generation, flush=True)
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_kill_leaves_a_whole_commit(tmp_path, seed):
    rng = np.random.default_rng(seed)
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", _ENDLESS_WRITER, str(tmp_path)], stdout=subprocess.PIPE
        ) as writer:
            writer.stdout.readline()
            time.sleep(rng.uniform(0, 0.4))
            writer.send_signal(signal.SIGKILL)
            reported = writer.stdout.read().split()
        index = LexicalIndex.open(tmp_path, writable=True)
        last = index.generation
        if reported:
            # A commit may be whole before it is reported, never the other way round.
            assert last - int(reported[-1]) in (0, 1)
        kept = [10 * n + m for n in range(1, last) for m in range(5, 10)]
        newest = [10 * last + m for m in range(10)]
        assert index.ids().tolist() == kept + newest
        assert sorted(found(index, "fox", 10**6)) == kept + newest
        index.close()
