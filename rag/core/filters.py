"""Metadata filters: `where={"year": {"gte": 2020}, "lang": "en"}`.

A filter is a mapping; all its entries must hold. A key is

- a metadata field, with a value to equal or a mapping of operators, all of which must hold:
  `eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `in`, `not_in`, `exists`;
- or one of the words `and`, `or` (a list of filters) and `not` (a filter).

A field that holds a list satisfies an operator when one of its elements does; `ne` and `not_in`
hold when no element equals. A missing field satisfies only `ne`, `not_in`, `exists: false` and
equality with None. Numbers and strings are never equal and never ordered against each other;
booleans count as 0 and 1.
"""

from __future__ import annotations

import operator as op
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from rag.core.documents import Metadata, Scalar
from rag.core.errors import FilterError

Where = Mapping[str, Any]
"""A filter as users write it."""

Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "exists"]
_OPERATORS = get_args(Operator)

_DEEPEST = 16
"""Filters within filters; databases refuse expressions that are nested much deeper."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field compared with one value, a tuple of values for `in` and `not_in`."""

    field: str
    operator: Operator
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class All:
    """Holds when every part does."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds when one part does."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Holds when its part does not."""

    part: Condition


Condition = Comparison | All | AnyOf | Not
"""A filter, checked and in one shape."""


def parse_where(where: Where) -> Condition:
    """Check a filter and bring it into one shape.

    Raises:
        FilterError: The filter is malformed; the message names the part.
    """
    return _parse(where, 1)


def _parse(where: Where, depth: int) -> Condition:
    if depth > _DEEPEST:
        raise FilterError(f"a filter is nested more than {_DEEPEST} deep; write it flatter")
    if not isinstance(where, Mapping):
        raise FilterError(f"a filter is a mapping of fields to conditions, not {where!r}")
    return All(tuple(_parse_entry(key, value, depth) for key, value in where.items()))


def _parse_entry(key: str, value: Any, depth: int) -> Condition:
    if key in ("and", "or"):
        if not isinstance(value, list | tuple) or not value:
            raise FilterError(f"'{key}' takes a list of filters, not {value!r}")
        parts = tuple(_parse(part, depth + 1) for part in value)
        return All(parts) if key == "and" else AnyOf(parts)
    if key == "not":
        return Not(_parse(value, depth + 1))
    if isinstance(value, Mapping):
        return All(tuple(_parse_operator(key, name, operand) for name, operand in value.items()))
    return _parse_operator(key, "eq", value)


def _parse_operator(field: str, name: str, operand: Any) -> Comparison:
    if name not in _OPERATORS:
        raise FilterError(
            f"field '{field}': no operator '{name}'; there are {', '.join(_OPERATORS)}"
        )
    if name in ("in", "not_in"):
        if not isinstance(operand, list | tuple | set | frozenset):
            raise FilterError(f"field '{field}': '{name}' takes a list, not {operand!r}")
        values: Scalar | tuple[Scalar, ...] = tuple(_scalar(field, item) for item in operand)
    else:
        values = _scalar(field, operand)
    if name == "exists" and not isinstance(values, bool):
        raise FilterError(f"field '{field}': 'exists' takes true or false, not {operand!r}")
    if name in ("gt", "gte", "lt", "lte") and values is None:
        raise FilterError(f"field '{field}': '{name}' cannot compare with None")
    return Comparison(field, cast(Operator, name), values)


def _scalar(field: str, value: Any) -> Scalar:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise FilterError(f"field '{field}': {value!r} is not a string, number, boolean or None")


def matches(condition: Condition, metadata: Metadata) -> bool:
    """Say whether metadata satisfies a filter; the meaning that every index has to share."""
    match condition:
        case All(parts):
            return all(matches(part, metadata) for part in parts)
        case AnyOf(parts):
            return any(matches(part, metadata) for part in parts)
        case Not(part):
            return not matches(part, metadata)
        case Comparison(field, operator, value):
            return _compare(field, operator, value, metadata)


def _compare(field: str, operator: Operator, value: Any, metadata: Metadata) -> bool:
    if operator == "exists":
        return (field in metadata) is value
    held = metadata.get(field)
    elements = held if isinstance(held, list) else [held]
    # An empty list holds nothing, as a missing field does; both equal None.
    elements = elements or [None]
    match operator:
        case "eq":
            return value in elements
        case "ne":
            return value not in elements
        case "in":
            return any(item in elements for item in value)
        case "not_in":
            return not any(item in elements for item in value)
        case _:
            return any(_ordered(element, operator, value) for element in elements)


def _ordered(left: Scalar, operator: Operator, right: Any) -> bool:
    comparable = (isinstance(left, str) and isinstance(right, str)) or (
        isinstance(left, int | float) and isinstance(right, int | float)
    )
    if not comparable:
        return False
    compare: Callable[[Any, Any], bool] = {
        "gt": op.gt,
        "gte": op.ge,
        "lt": op.lt,
        "lte": op.le,
    }[operator]
    return compare(left, right)
