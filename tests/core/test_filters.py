import pytest

from rag.core.errors import FilterError
from rag.core.filters import matches, parse_where

BOOK = {"year": 2021, "lang": "en", "tags": ["a", "b"], "draft": False, "none": None, "void": []}


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"year": 2021},
        {"year": 2021.0, "lang": "en"},
        {"year": {"gte": 2020, "lt": 2022}},
        {"year": {"ne": 1999}},
        {"year": {"not_in": [1, 2]}},
        {"lang": {"in": ["de", "en"]}},
        {"lang": {"gt": "de"}},
        {"tags": "a"},
        {"tags": {"in": ["b", "z"]}},
        {"tags": {"ne": "z"}},
        {"draft": 0},
        {"missing": {"ne": 3}},
        {"missing": None},
        {"none": None},
        {"void": None},
        {"missing": {"exists": False}, "none": {"exists": True}},
        {"or": [{"year": 1}, {"lang": "en"}]},
        {"and": [{"year": 2021}, {"not": {"lang": "de"}}]},
        {"not": {"tags": {"gt": "b"}}},
    ],
)
def test_holds(where: dict) -> None:
    assert matches(parse_where(where), BOOK)


@pytest.mark.parametrize(
    "where",
    [
        {"year": "2021"},
        {"year": {"gt": "2000"}},
        {"lang": {"gt": 0}},
        {"missing": {"lt": 5}},
        {"missing": 0},
        {"tags": {"ne": "a"}},
        {"tags": {"not_in": ["b"]}},
        {"void": {"gte": ""}},
        {"none": {"exists": False}},
        {"or": [{"year": 1}, {"lang": "de"}]},
        {"not": {}},
    ],
)
def test_does_not_hold(where: dict) -> None:
    assert not matches(parse_where(where), BOOK)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (["year"], "a filter is a mapping"),
        ({"year": {"above": 1}}, "no operator 'above'; there are eq, ne"),
        ({"year": [1, 2]}, "field 'year'"),
        ({"year": {"in": 5}}, "'in' takes a list"),
        ({"or": {}}, "'or' takes a list of filters"),
        ({"not": 3}, "a filter is a mapping"),
        ({"a": {"exists": 1}}, "'exists' takes true or false"),
        ({"a": {"gt": None}}, "cannot compare with None"),
        ({"a": {"in": [{}]}}, "not a string, number, boolean or None"),
    ],
)
def test_malformed_filters_say_where(where: object, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        parse_where(where)  # type: ignore[arg-type]
