"""Searches side by side of which some may fail."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TypeVar

from rag.core.errors import BudgetExhausted, SearchFailed
from rag.core.operations import Note, together

T = TypeVar("T")


async def attempt(operation: Awaitable[T], *expected: type[Exception]) -> T | Exception:
    """Return what an operation or program returns, or its error if that is of an expected kind."""
    try:
        return await operation
    except expected as error:
        return error


async def search_all(
    name: str, searches: Sequence[Awaitable[T]], *expected: type[Exception]
) -> list[T | None]:
    """Make all searches at once and note those that fail.

    Args:
        name: Who searches.
        searches: The searches.
        expected: Errors that fail a search, beside `SearchFailed` and `BudgetExhausted`.

    Returns:
        The results, None for a search that failed.

    Raises:
        SearchFailed: All failed; the reason has those of all.
        BudgetExhausted: All failed, at least one for want of budget.
    """
    attempts = [attempt(each, SearchFailed, BudgetExhausted, *expected) for each in searches]
    outcomes = await together(*attempts)
    errors = [each for each in outcomes if isinstance(each, Exception)]
    if errors and len(errors) == len(outcomes):
        exhausted = [each for each in errors if isinstance(each, BudgetExhausted)]
        raise _joined(name, exhausted or errors)
    for error in errors:
        await Note(f"one of {len(outcomes)} searches failed: {error}")
    return [None if isinstance(each, Exception) else each for each in outcomes]


def _joined(name: str, errors: Sequence[Exception]) -> Exception:
    # One error says more as it is: an engine's has its cause and status.
    if len(errors) == 1 or isinstance(errors[0], BudgetExhausted):
        return errors[0]
    return SearchFailed(name, "; ".join(map(str, errors)))
