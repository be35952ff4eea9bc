from __future__ import annotations

import math
import sqlite3
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.core.documents import Document
from rag.core.errors import FilterError
from rag.core.filters import matches, parse_where
from rag.indexes.records import DocumentRecord, VectorCodec
from rag.indexes.store import SCHEMA
from rag.indexes.transaction import Transaction

names = st.sampled_from(
    ["a", "b", "a.b", 'quo"te', "'; DROP TABLE documents; --", "", "ä\0", "$[0]"]
)
stored_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, 2, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]),
    st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0**53, 2.0**63, 1e300, 5e-324]),
    st.sampled_from(["", "0", "1", "a", "A", "ä", "ab", "a\0b", "\uffff", "\U0001f600", "true"]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
)
scalars = st.one_of(stored_scalars, st.sampled_from([math.inf, -math.inf, math.nan]))
metadata = st.dictionaries(names, st.one_of(stored_scalars, st.lists(stored_scalars, max_size=3)))
operators = st.one_of(
    st.dictionaries(st.sampled_from(["eq", "ne"]), scalars),
    st.dictionaries(
        st.sampled_from(["gt", "gte", "lt", "lte"]), scalars.filter(lambda value: value is not None)
    ),
    st.dictionaries(st.sampled_from(["in", "not_in"]), st.lists(scalars, max_size=3)),
    st.dictionaries(st.just("exists"), st.booleans()),
)
wheres: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(names, st.one_of(scalars, operators), max_size=2),
    lambda inner: st.one_of(
        st.builds(lambda parts: {"and": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts: {"or": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"not": part}, inner),
    ),
    max_leaves=5,
)


def stored(*rows: dict[str, Any]) -> Transaction:
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA)
    transaction = Transaction(connection, VectorCodec("float32", 2), "memory")
    for number, row in enumerate(rows):
        document = Document(f"{number}", "", metadata=row)
        transaction.add_documents([DocumentRecord.of(document)], [[]], [[]])
    return transaction


def select(store: Transaction, where: dict[str, Any]) -> list[str]:
    return [document.id for document in store.documents(parse_where(where))]


@settings(max_examples=300, deadline=None)
@given(st.lists(metadata, min_size=1, max_size=5), st.lists(wheres, min_size=1, max_size=8))
def test_sql_means_what_matches_means(
    rows: list[dict[str, Any]], filters: list[dict[str, Any]]
) -> None:
    store = stored(*rows)
    for where in filters:
        condition = parse_where(where)
        expected = [str(i) for i, row in enumerate(rows) if matches(condition, row)]
        assert select(store, where) == expected


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"year": 2020}, "0"),
        ({"year": {"gte": 2020, "lt": 2022}}, "0"),
        ({"year": "2020"}, "1"),
        ({"year": {"gt": ""}}, "1"),
        ({"year": None}, "34"),
        ({"year": {"exists": True}}, "012"),
        ({"tags": "a"}, "02"),
        ({"tags": {"ne": "a"}}, "134"),
        ({"tags": {"in": ["b", None]}}, "0134"),
        ({"tags": {"not_in": []}}, "01234"),
        ({"not": {"tags": "a"}, "year": {"exists": False}}, "34"),
        ({"or": [{"year": 2023}, {"tags": {"exists": False}}]}, "124"),
        ({}, "01234"),
    ],
)
def test_examples(where: dict[str, Any], expected: str) -> None:
    store = stored(
        {"year": 2020, "tags": ["a", "b"]},
        {"year": "2020"},
        {"year": 2023, "tags": ["a"]},
        {"tags": []},
        {},
    )
    assert "".join(select(store, where)) == expected


@pytest.mark.parametrize("where", [{"n": 2**63}, {"n": {"in": ["\ud800"]}}, {"\ud800": 1}])
def test_values_that_nothing_stored_can_hold_are_refused(where: dict[str, Any]) -> None:
    with pytest.raises(FilterError, match="cannot be stored"):
        select(stored(), where)


@pytest.mark.parametrize(
    "where", [{"n": {"in": list(range(32_001))}}, {"or": [{"n": n} for n in range(401)]}]
)
def test_a_filter_larger_than_sqlite_runs_is_refused(where: dict[str, Any]) -> None:
    with pytest.raises(FilterError, match="too large"):
        select(stored(), where)


@pytest.mark.parametrize(
    "where", [{"n": {"in": list(range(31_999))}}, {"or": [{"n": n} for n in range(400)]}]
)
def test_the_largest_filters_run(where: dict[str, Any]) -> None:
    assert select(stored({"n": 399}), where) == ["0"]
