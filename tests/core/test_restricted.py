"""A program under a ceiling reads nothing above it, however deep."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rag.core.documents import Passage
from rag.core.engine import Engine
from rag.core.hits import Hit
from rag.core.operations import Program, Restricted, together
from rag.core.search_operations import Search
from rag.testing import FixedRetriever

TAGS = ["hr", "board", "legal"]
PASSAGES = [
    Passage(str(number), "d", "text", 0, 4, metadata={"sensitivity": tags})
    for number, tags in enumerate(
        [["public"], ["hr"], ["board"], ["legal"], ["hr", "board"], ["hr", "board", "legal"]]
    )
]
RETRIEVER = FixedRetriever(PASSAGES, results={"all": PASSAGES})
LEVELS = st.frozensets(st.sampled_from(TAGS))


class Nested:
    """A retriever that is a program, over another retriever."""

    name = "nested"

    def search_many(self, *_: Any) -> list[list[Hit]]:
        raise AssertionError("the engine runs the program")

    async def program(self, query: str, top_k: int, where: Any = None) -> list[Hit]:
        return await Search(query, top_k, where, RETRIEVER)


def under(ceilings: list[frozenset[str]], retriever: Any, members: int) -> Program[Any]:
    """Search in some members of a program under some ceilings, the first the outermost."""

    async def search() -> list[list[Hit]]:
        searches = [Search("all", 10, retriever=retriever) for _ in range(members)]
        return list(await together(*searches))

    async def restricted() -> Any:
        program: Any = search()
        for ceiling in reversed(ceilings):
            program = Restricted(program, ceiling)
        return await program

    return restricted()


@given(st.lists(LEVELS, max_size=3), st.booleans(), st.integers(1, 3))
def test_what_is_read_is_what_all_ceilings_let_through(
    ceilings: list[frozenset[str]], nested: bool, members: int
) -> None:
    (outcome,) = Engine().run_many([under(ceilings, Nested() if nested else RETRIEVER, members)])
    lowest = frozenset(TAGS).intersection(*ceilings)
    wanted = [each.id for each in PASSAGES if each.sensitivity <= lowest]
    assert [[hit.passage.id for hit in hits] for hits in outcome.unwrap()] == [wanted] * members
    assert outcome.sensitivity <= lowest


def test_the_ceiling_ends_with_its_program() -> None:
    async def program() -> tuple[int, int]:
        below: list[Hit] = await Restricted(Search("all", 10), frozenset())
        return len(below), len(await Search("all", 10))

    assert Engine(retriever=RETRIEVER).run(program()) == (1, len(PASSAGES))
