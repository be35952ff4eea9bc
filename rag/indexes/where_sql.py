"""Metadata filters as SQL, with the meaning of `rag.core.filters.matches`.

The `fields` table holds one row for each value of each metadata field, NULL for None and for an
empty list, so that SQLite compares typed values through an index instead of parsing JSON. Names
and values only ever travel as parameters.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from rag.core.documents import Scalar
from rag.core.errors import FilterError
from rag.core.filters import All, AnyOf, Comparison, Condition, Not


class Sql(NamedTuple):
    """A boolean expression over `documents.id`, and its parameters."""

    text: str
    parameters: tuple[Scalar, ...] = ()


_TRUE, _FALSE = Sql("1"), Sql("0")
_ORDER = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_LARGEST = 2**63 - 1
# SQLite's own limits are a depth of 1,000 and 32,766 parameters.
_MOST_COMPARISONS = 400
_MOST_VALUES = 32_000


def compile_where(condition: Condition) -> Sql:
    """Return an expression that holds for the documents whose metadata match a filter.

    Raises:
        FilterError: A name or value has no place in the store, so nothing could be compared, or
            there are more of them than SQLite takes.
    """
    compiled = _compile(condition)
    comparisons = compiled.text.count("SELECT")
    if comparisons > _MOST_COMPARISONS or len(compiled.parameters) > _MOST_VALUES:
        raise FilterError(
            f"the filter is too large: {comparisons} comparisons (at most {_MOST_COMPARISONS}) "
            f"with {len(compiled.parameters)} values (at most {_MOST_VALUES})"
        )
    return compiled


def _compile(condition: Condition) -> Sql:
    match condition:
        case All(parts):
            return _join(" AND ", [_compile(part) for part in parts]) if parts else _TRUE
        case AnyOf(parts):
            return _join(" OR ", [_compile(part) for part in parts]) if parts else _FALSE
        case Not(part):
            return _negate(_compile(part))
        case Comparison():
            return _compare(condition)


def _compare(comparison: Comparison) -> Sql:
    field, value = comparison.field, comparison.value
    values = value if isinstance(value, tuple) else (value,)
    _check(field, field)
    match comparison.operator:
        case "exists":
            held = _holding(field)
            return held if value else _negate(held)
        case "eq" | "in":
            return _equal_any(field, values)
        case "ne" | "not_in":
            return _negate(_equal_any(field, values))
        case order:
            (value,) = values
            _check(field, value)
            if _is_nan(value):
                return _FALSE
            # SQLite orders every number before every string; the filter orders neither way.
            types = "('text')" if isinstance(value, str) else "('integer', 'real')"
            return _holding(field, f"typeof(value) IN {types} AND value {_ORDER[order]} ?", value)


def _equal_any(field: str, values: tuple[Scalar, ...]) -> Sql:
    for value in values:
        _check(field, value)
    # SQLite reads a NaN as NULL, but it equals nothing.
    comparable = [value for value in values if value is not None and not _is_nan(value)]
    alternatives = []
    if comparable:
        marks = ", ".join("?" * len(comparable))
        alternatives.append(_holding(field, f"value IN ({marks})", *comparable))
    if None in values:
        alternatives += [_negate(_holding(field)), _holding(field, "value IS NULL")]
    return _join(" OR ", alternatives) if alternatives else _FALSE


def _holding(field: str, test: str = "1", *values: Scalar) -> Sql:
    return Sql(
        f"documents.id IN (SELECT document_id FROM fields WHERE name = ? AND {test})",
        (field, *values),
    )


def _negate(part: Sql) -> Sql:
    return Sql(f"NOT ({part.text})", part.parameters)


def _join(word: str, parts: list[Sql]) -> Sql:
    return Sql(
        word.join(f"({part.text})" for part in parts),
        tuple(value for part in parts for value in part.parameters),
    )


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _check(field: str, value: object) -> None:
    if not storable(value):
        raise FilterError(f"field {field!r}: {value!r} cannot be stored, so nothing can match it")


def storable(value: object) -> bool:
    """Say whether SQLite keeps a scalar as it is: integers of 64 bits, text without surrogates."""
    if isinstance(value, int):
        return -_LARGEST - 1 <= value <= _LARGEST
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
        return True
    return value is None or isinstance(value, float)
