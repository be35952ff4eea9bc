"""Reading data sets, and saying what is wrong with them."""

import json
from pathlib import Path

import pytest

from rag.core.errors import DataError
from rag.evaluation import Query, read_dataset

DATA = Path(__file__).parents[1] / "data"


def write(folder, corpus=None, queries=None, qrels="q1\td1\t1\n", qrels_file="qrels.tsv"):
    folder.mkdir(exist_ok=True)
    corpus = corpus or [{"id": "d1", "title": "Fox", "text": "A red fox."}]
    queries = queries or [{"id": "q1", "text": "which fox?"}]
    for name, records in (("corpus", corpus), ("queries", queries)):
        lines = [each if isinstance(each, str) else json.dumps(each) for each in records]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    path = folder / qrels_file
    path.parent.mkdir(exist_ok=True)
    path.write_text(qrels)
    return folder


@pytest.mark.parametrize(
    ("name", "documents", "queries", "candidates"),
    [("hotpotqa", 980, 98, 98), ("nq", 599, 150, 0), ("scifact", 287, 60, 0)],
)
def test_real_sets(name, documents, queries, candidates):
    dataset = read_dataset(DATA / name)
    corpus = {document.id: document for document in dataset.documents()}
    assert dataset.name == name
    assert len(corpus) == documents
    assert len(dataset.queries) == len(dataset.judgements) == queries
    assert len(dataset.candidates) == candidates
    assert all(corpus[each].text for grades in dataset.judgements.values() for each in grades)
    assert all(each in corpus for ids in dataset.candidates.values() for each in ids)


def test_beir_s_own_layout(tmp_path):
    folder = write(
        tmp_path,
        corpus=[
            {"_id": "d1", "title": "", "text": "A fox.", "metadata": {"url": "u", "deep": {}}},
            {"_id": "d2", "title": "Only a title", "text": "", "year": 2011, "tags": ["a", "b"]},
        ],
        queries=[
            {"_id": "q2", "text": "two", "metadata": {}},
            {"_id": "q1", "text": "one", "answers": ["a fox", 7]},
            {"_id": "of another split", "text": "three"},
        ],
        qrels="query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td2\t1\nelsewhere\td1\t1\n",
        qrels_file="qrels/test.tsv",
    )
    dataset = read_dataset(folder)
    assert dataset.queries == (Query("q2", "two"), Query("q1", "one", ("a fox", "7")))
    assert dataset.judgements == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}
    first, second = dataset.documents()
    assert (first.text, first.title, first.metadata) == ("A fox.", "", {"url": "u"})
    assert (second.text, second.title) == ("Only a title", "Only a title")
    assert second.metadata == {"year": 2011, "tags": ["a", "b"]}


def test_another_split(tmp_path):
    folder = write(tmp_path, qrels_file="qrels/dev.tsv")
    assert len(read_dataset(folder, split="dev").queries) == 1
    with pytest.raises(DataError, match=r"qrels.test\.tsv: No such file"):
        read_dataset(folder)


def test_without_judgements(tmp_path):
    queries = [{"id": "q1", "text": "one"}, {"id": "q2", "text": "two"}]
    folder = write(tmp_path, queries=queries, qrels="q2\td1\t1\n")
    some = read_dataset(folder, judged=False)
    assert [query.id for query in some.queries] == ["q1", "q2"]
    assert some.judgements == {"q2": {"d1": 1}}
    (folder / "qrels.tsv").unlink()
    none = read_dataset(folder, judged=False)
    assert (none.queries, none.judgements) == (some.queries, {})


def test_documents_are_read_a_line_at_a_time(tmp_path):
    folder = write(tmp_path, corpus=[{"id": "d1", "text": "A fox."}, "not JSON"])
    documents = read_dataset(folder).documents()
    assert next(documents).id == "d1"
    with pytest.raises(DataError, match=r"corpus\.jsonl, line 2"):
        next(documents)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Expecting"),
        ("[1]", "not a JSON object"),
        ('{"text": "no id"}', "no field '_id'"),
        ('{"id": 7, "text": "number"}', "'id' is 7 instead of a string"),
        ('{"id": "d2"}', "no field 'text'"),
        ('{"id": "d2", "text": null}', "'text' is None instead of a string"),
        ('{"id": "d2", "text": "t", "title": 5}', "'title' is 5 instead of a string"),
        ('{"id": "d1", "text": "again"}', "'d1' comes twice"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_malformed_document(tmp_path, line, reason):
    folder = write(tmp_path, corpus=[{"id": "d1", "text": "A fox."}, "", line])
    with pytest.raises(DataError, match=reason) as raised:
        list(read_dataset(folder).documents())
    assert (raised.value.path, raised.value.line) == (str(folder / "corpus.jsonl"), 3)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": "q2"}', "no field 'text'"),
        ('{"id": "q1", "text": "again"}', "'q1' comes twice"),
        ('{"id": "q2", "text": "t", "answers": "one"}', "'answers' is 'one' instead of a list"),
    ],
)
def test_a_malformed_query(tmp_path, line, reason):
    folder = write(tmp_path, queries=[{"id": "q1", "text": "which?"}, line])
    with pytest.raises(DataError, match=reason) as raised:
        read_dataset(folder)
    assert (raised.value.path, raised.value.line) == (str(folder / "queries.jsonl"), 2)


@pytest.mark.parametrize(
    ("qrels", "line", "reason"),
    [
        ("q1\td1\t1\nq1\td2\n", 2, "2 columns"),
        ("q1 d1 1\n", 1, "1 columns"),
        ("q1\td1\t1\nq1\td2\thigh\n", 2, "'high' is no integer"),
        ("query\tdocument\trelevance\n\nother\td1\t1\n", None, "none of the queries"),
    ],
)
def test_malformed_judgements(tmp_path, qrels, line, reason):
    folder = write(tmp_path, qrels=qrels)
    with pytest.raises(DataError, match=reason) as raised:
        read_dataset(folder)
    assert (raised.value.path, raised.value.line) == (str(folder / "qrels.tsv"), line)


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl"])
def test_a_missing_file(tmp_path, missing):
    folder = write(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(DataError, match=missing):
        read_dataset(folder)


def test_another_encoding(tmp_path):
    folder = write(tmp_path)
    (folder / "corpus.jsonl").write_bytes('{"id": "d1", "text": "Łódź"}'.encode("utf-16"))
    with pytest.raises(DataError, match="not UTF-8"):
        list(read_dataset(folder).documents())
