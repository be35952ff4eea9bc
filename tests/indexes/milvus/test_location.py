from __future__ import annotations

from pathlib import Path

import pytest

from rag.core.errors import InputError
from rag.indexes.milvus.location import MilvusLocation


@pytest.mark.parametrize(
    ("location", "uri", "name", "lite"),
    [
        ("milvus:http://localhost:19530#docs", "http://localhost:19530", "docs", None),
        ("milvus:https://h.example/db#_a1", "https://h.example/db", "_a1", None),
        ("milvus:a folder/#1/lite.db#docs", "a folder/#1/lite.db", "docs", "a folder/#1/lite.db"),
    ],
)
def test_a_location_is_read_and_written(
    location: str, uri: str, name: str, lite: str | None
) -> None:
    parsed = MilvusLocation.parse(location)
    assert (parsed.uri, parsed.name) == (uri, name)
    assert parsed.lite == (None if lite is None else Path(lite))
    assert str(parsed) == location


@pytest.mark.parametrize(
    "location",
    [
        "docs",
        "milvus:",
        "milvus:docs",
        "milvus:http://host:19530",
        "milvus:http://#docs",
        "milvus:file:///x#docs",
        "milvus:lite.db",
        "milvus:lite.db#two words",
        "milvus:lite.db#1a",
        "milvus:lite.db#" + "a" * 201,
        "milvus:lite.db#ä",
    ],
)
def test_what_is_no_location_is_refused_with_an_example(location: str) -> None:
    with pytest.raises(InputError, match="milvus:http"):
        MilvusLocation.parse(location)


@pytest.mark.parametrize(
    "location", ["milvus:http://root:s3cret@host:19530#docs", "milvus:http://h?token=s3cret#docs"]
)
def test_credentials_are_refused_and_not_repeated(location: str) -> None:
    with pytest.raises(InputError, match="MILVUS_TOKEN") as caught:
        MilvusLocation.parse(location)
    assert "s3cret" not in str(caught.value)
