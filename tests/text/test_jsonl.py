import json

from rag.core.documents import Document
from rag.text import Skipped, read_documents


def read(tmp_path, *rows, **options):
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(
        b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    )
    return path, list(read_documents([path], **options))


def test_a_document_a_line(tmp_path):
    path, items = read(
        tmp_path,
        {"id": "x", "title": "T", "text": "One\r\ntwo", "year": 2024, "tags": ["a"]},
        b"",
        {"_id": 7, "text": "Seven", "metadata": {"lang": "en"}, "uri": "https://example.org/7"},
        {"text": "\ud800 no id"},
    )
    assert items == [
        Document(
            "x", "One\ntwo", "T", path.as_uri(), {"format": "text", "year": 2024, "tags": ["a"]}
        ),
        Document("7", "Seven", "", "https://example.org/7", {"format": "text", "lang": "en"}),
        Document("corpus.jsonl:4", "\ufffd no id", "", path.as_uri(), {"format": "text"}),
    ]


def test_bad_lines_are_reported_and_the_rest_read(tmp_path):
    path, items = read(
        tmp_path,
        b"{not json",
        b"[1]",
        {"id": "a"},
        {"id": ["a"], "text": "t"},
        {"id": "b", "text": 3},
        {"id": "c", "text": "t", "nested": {"a": 1}},
        b"\xff\xfe",
        b'{"id": "d", "text": "' + b"x" * 200 + b'"}',
        {"id": "good", "text": "t"},
        {"id": "good", "text": "again"},
        max_bytes=100,
    )
    *bad, good, again = items
    assert isinstance(good, Document)
    assert [item.path for item in bad] == [path] * 8
    assert all(f"line {i}: " in item.reason for i, item in enumerate(bad, start=1))
    assert again == Skipped(path, "another document has the id 'good'")
