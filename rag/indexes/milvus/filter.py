"""Metadata filters as Milvus expressions, with the meaning of `rag.core.filters.matches`.

Milvus compares JSON by rules of its own: an integer is no float, a missing key makes a negation
neither true nor false, and releases differ. So each row carries its metadata a second time, in a
form that needs no such rules: hashes of what holds (`facts`, an array that is never null), and of
each field the smallest and the largest number and text (`bounds`), written so that they sort as
strings. Names and values enter expressions as hexadecimal digits only; nothing can break out.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Sequence
from typing import Literal

from rag.core.documents import Scalar
from rag.core.errors import FilterError
from rag.core.filters import All, AnyOf, Comparison, Condition, Not
from rag.indexes.records import hash_text
from rag.indexes.where_sql import storable

_Type = Literal["number", "text"]

_TRUE, _FALSE = "number >= 0", "number < 0"
_LONGEST = 1 << 20
_SIGN = 1 << 63
_LARGEST_RESIDUE = 512  # what rounding an integer of 64 bits to a float takes away, at most


def facts(fields: Iterable[tuple[str, Scalar]]) -> list[str]:
    """Return what holds of metadata: that a field is there, holds a type, equals a value.

    Args:
        fields: Each value with its field's name, None for an empty list.
    """
    found: dict[str, None] = {}
    for name, value in fields:
        found |= dict.fromkeys((_is_there(name), _equals(name, value)))
        if value is not None:
            found[_holds(name, _type_of(value))] = None
    return list(found)


def bounds(fields: Iterable[tuple[str, Scalar]]) -> dict[str, str]:
    """Return the smallest and the largest value of each field and type, as they sort."""
    found: dict[str, str] = {}
    for name, value in fields:
        if value is not None:
            key, low, high = _sortable(value), *_bounds_of(name, _type_of(value))
            found[low] = min(found.get(low, key), key)
            found[high] = max(found.get(high, key), key)
    return found


def compile_where(condition: Condition) -> str:
    """Return an expression that holds for the rows whose metadata match a filter.

    Raises:
        FilterError: A name or value cannot be stored, so nothing could be compared, or there are
            more of them than fit a request.
    """
    expression = _compile(condition, holds=True)
    if len(expression) > _LONGEST:
        raise FilterError(
            f"the filter is too large: {len(expression):,} characters as an expression (at most "
            f"{_LONGEST:,}); name fewer values"
        )
    return expression


def _compile(condition: Condition, *, holds: bool) -> str:
    """Compile a filter or its negation: negations end up in front of comparisons of facts."""
    match condition:
        case All(parts) | AnyOf(parts):
            conjunction = isinstance(condition, All) is holds
            compiled = [_compile(part, holds=holds) for part in parts]
            return _join("and" if conjunction else "or", compiled, _TRUE if conjunction else _FALSE)
        case Not(part):
            return _compile(part, holds=not holds)
        case Comparison():
            return _compare(condition, holds=holds)


def _compare(comparison: Comparison, *, holds: bool) -> str:
    field, value = comparison.field, comparison.value
    values = value if isinstance(value, tuple) else (value,)
    for each in (field, *values):
        if not storable(each):
            raise FilterError(
                f"field {field!r}: {each!r} cannot be stored, so nothing can match it"
            )
    match comparison.operator:
        case "exists":
            return _any_of([_is_there(field)], holds=holds is value)
        case "eq" | "in":
            return _equal_any(field, values, holds=holds)
        case "ne" | "not_in":
            return _equal_any(field, values, holds=not holds)
        case order:
            (value,) = values
            return _ordered(field, order, value, holds=holds)


def _equal_any(field: str, values: Sequence[Scalar], *, holds: bool) -> str:
    wanted = [_equals(field, value) for value in values if not _is_nan(value)]
    parts = [_any_of(wanted, holds=holds)] if wanted else []
    if None in values:  # as a missing field does
        parts.append(_any_of([_is_there(field)], holds=not holds))
    return _join("or", parts, _FALSE) if holds else _join("and", parts, _TRUE)


def _ordered(
    field: str, order: Literal["gt", "gte", "lt", "lte"], value: Scalar, *, holds: bool
) -> str:
    if value is None or _is_nan(value):
        return _FALSE if holds else _TRUE
    kind = _type_of(value)
    low, high = _bounds_of(field, kind)
    # One element of a list has to satisfy it, so the largest or the smallest one.
    bound = high if order in ("gt", "gte") else low
    symbols = {"gt": (">", "<="), "gte": (">=", "<"), "lt": ("<", ">="), "lte": ("<=", ">")}
    symbol = symbols[order][not holds]
    # Where there is no bound, the fact decides, and the comparison is of no account.
    there = _any_of([_holds(field, kind)], holds=holds)
    return f'({there} {"and" if holds else "or"} bounds["{bound}"] {symbol} "{_sortable(value)}")'


def _any_of(wanted: Sequence[str], *, holds: bool) -> str:
    listed = ", ".join(f'"{fact}"' for fact in wanted)
    expression = f"array_contains_any(facts, [{listed}])"
    return expression if holds else f"(not {expression})"


def _join(word: str, parts: Sequence[str], empty: str) -> str:
    return f"({f' {word} '.join(parts)})" if parts else empty


def _is_there(field: str) -> str:
    return _digest("is there", field)


def _holds(field: str, kind: _Type) -> str:
    return _digest("holds", field, kind)


def _equals(field: str, value: Scalar) -> str:
    if value is None:
        return _digest("equals", field, "none")
    return _digest("equals", field, _type_of(value), _sortable(value))


def _bounds_of(field: str, kind: _Type) -> tuple[str, str]:
    return _digest("lowest", field, kind), _digest("highest", field, kind)


def _digest(*parts: str) -> str:
    return hash_text(json.dumps(parts)).hex()


def _type_of(value: str | float) -> _Type:
    return "text" if isinstance(value, str) else "number"


def _sortable(value: str | float) -> str:
    """Return hexadecimal digits that sort as the value does among those of its type."""
    if isinstance(value, str):
        return value.encode().hex()
    near = float(value)
    residue = int(value) - int(near) if isinstance(value, int) else 0
    (bits,) = struct.unpack(">Q", struct.pack(">d", near + 0.0))  # + 0.0 makes one zero of two
    ordered = bits ^ (2 * _SIGN - 1) if bits & _SIGN else bits | _SIGN
    return f"{ordered:016x}{residue + _LARGEST_RESIDUE:03x}"


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
