from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.core.documents import Document
from rag.core.errors import FilterError
from rag.core.filters import matches, parse_where
from rag.indexes.milvus.collection import MilvusCollection
from rag.indexes.milvus.filter import _sortable, compile_where
from rag.testing.embedders import HashEmbedder
from tests.indexes.test_where import metadata, wheres

numbers = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.builds(lambda n, d: 2**n + d, st.integers(50, 62), st.integers(-2, 2)),
    st.builds(lambda n: float(2**n), st.integers(50, 63)),
)
texts = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture(scope="module")
def collection(milvus_lite: str) -> Iterator[MilvusCollection]:
    with MilvusCollection.create(f"{milvus_lite}#filters", HashEmbedder()) as collection:
        yield collection


@settings(max_examples=10, deadline=None)
@given(st.lists(metadata, min_size=1, max_size=8), st.lists(wheres, min_size=4, max_size=12))
def test_expressions_mean_what_matches_means(
    collection: MilvusCollection, rows: list[dict[str, Any]], filters: list[dict[str, Any]]
) -> None:
    collection.remove([str(number) for number in range(8)])
    collection.add(Document(str(n), "", metadata=row) for n, row in enumerate(rows))
    for where in filters:
        condition = parse_where(where)
        expected = [str(n) for n, row in enumerate(rows) if matches(condition, row)]
        assert [each.id for each in collection.documents(where)] == expected


@given(numbers, numbers)
def test_numbers_sort_as_they_compare(one: float, other: float) -> None:
    assert (one < other) == (_sortable(one) < _sortable(other))
    assert (one == other) == (_sortable(one) == _sortable(other))


@given(texts, texts)
def test_texts_sort_as_they_compare(one: str, other: str) -> None:
    assert (one < other) == (_sortable(one) < _sortable(other))
    assert (one == other) == (_sortable(one) == _sortable(other))


@given(wheres)
def test_no_name_and_no_value_is_written_into_an_expression(where: dict[str, Any]) -> None:
    words = set("array_contains_any facts bounds not and or number".split())
    expression = compile_where(parse_where(where))
    for mark in '"[](),<>=':
        expression = expression.replace(mark, " ")
    for part in set(expression.split()) - words:
        assert not part.strip("0123456789abcdef")


@pytest.mark.parametrize("where", [{"n": 2**63}, {"n": {"in": ["\ud800"]}}, {"\ud800": 1}])
def test_values_that_nothing_stored_can_hold_are_refused(where: dict[str, Any]) -> None:
    with pytest.raises(FilterError, match="cannot be stored"):
        compile_where(parse_where(where))


def test_a_filter_larger_than_a_request_is_refused() -> None:
    with pytest.raises(FilterError, match="too large"):
        compile_where(parse_where({"n": {"in": list(range(40_000))}}))
