"""Programs for the engine's tests, drawn at random."""

from collections.abc import Awaitable
from typing import Any

from hypothesis import strategies as st

from rag.core.budgets import Budget
from rag.core.errors import BudgetExhausted
from rag.core.generation import Prompt
from rag.core.operations import Generate, Limited, NextToken, Score, together
from rag.core.search_operations import Search

leaves = st.one_of(
    st.tuples(st.just("generate"), st.integers(0, 6)),
    st.tuples(st.just("score"), st.integers(0, 6)),
    st.tuples(st.just("next"), st.integers(0, 6)),
    st.tuples(st.just("search"), st.integers(0, 2)),
)
shapes = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("chain"), st.lists(inner, max_size=3)),
        st.tuples(st.just("together"), st.lists(inner, max_size=3)),
        st.tuples(st.just("limited"), inner, st.integers(0, 12)),
        st.tuples(st.just("tolerant"), inner),
    ),
    max_leaves=12,
)
"""Nested chains and parallel branches of operations; a number is the words of a prompt."""


async def program(shape: Any, name: str) -> Any:
    """Carry out a shape; every prompt begins with the name, so its owner can be told."""
    match shape:
        case ("generate", words):
            return (await Generate(prompt(name, words))).text
        case ("score", words):
            return (await Score(prompt(name, words), "a b")).logprob
        case ("next", words):
            return dict((await NextToken(prompt(name, words), ("x", "y"))).logprobs)
        case ("search", words):
            return [hit.passage.text for hit in await Search(f"{name} {words}")]
        case ("chain", parts):
            return [await program(part, name) for part in parts]
        case ("together", parts):
            members: list[Awaitable[Any]] = [program(part, name) for part in parts]
            return await together(*members)
        case ("limited", part, tokens):
            return await Limited(program(part, name), Budget(tokens=tokens))
        case ("tolerant", part):
            try:
                return await program(part, name)
            except BudgetExhausted as error:
                return f"out of {error.kind}"
    raise AssertionError(shape)


def prompt(name: str, words: int) -> Prompt:
    return Prompt(" ".join([name, *(["w"] * words)]))
