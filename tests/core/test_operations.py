"""A program is pure logic: it can be driven by hand, with no engine and no model."""

import pytest

from rag.core.budgets import Allowance
from rag.core.generation import Prompt, Reply
from rag.core.operations import Generate, Remaining, Together, together
from rag.core.search_operations import Search


async def read(question: str) -> str:
    hits = await Search(question, top_k=2)
    reply = await Generate(Prompt(f"{question} {len(hits)}"))
    return reply.text


def test_a_program_asks_and_is_answered() -> None:
    program = read("why?")
    assert program.send(None) == Search("why?", top_k=2)
    assert program.send([]) == Generate(Prompt("why? 0"))
    with pytest.raises(StopIteration) as stop:
        program.send(Reply("because"))
    assert stop.value.value == "because"


def test_a_program_is_made_of_programs() -> None:
    async def outer() -> list[str]:
        return [await read("a"), await read("b")]

    program = outer()
    assert program.send(None) == Search("a", top_k=2)
    program.send([])
    assert program.send(Reply("A")) == Search("b", top_k=2)
    program.close()


def test_together_keeps_its_members() -> None:
    async def both() -> tuple[list[object], Allowance]:
        return await together(Search("a"), Remaining())  # type: ignore[return-value]

    program = both()
    assert program.send(None) == Together((Search("a"), Remaining()))
    with pytest.raises(StopIteration) as stop:
        program.send(([], Allowance(tokens=3)))
    assert stop.value.value == ([], Allowance(tokens=3))
