"""A question in two hops, worked examples of its kind, and programs fed by hand."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rag.core.answers import Answer, Step
from rag.core.budgets import Allowance
from rag.core.generation import Prompt, Reply
from rag.core.hits import Hit
from rag.core.operations import CountTokens, Generate, Remaining
from rag.core.search_operations import Search
from rag.core.worked_examples import WorkedExample
from rag.testing import FixedRetriever
from tests.pipelines.passages import hit

QUESTION = "Where was the director of Alien born?"
ALIEN = hit("Alien is a film by Ridley Scott.", document_id="alien", title="Alien")
CAST = hit("Alien stars Sigourney Weaver.", document_id="cast", title="Cast of Alien")
SCOTT = hit("Ridley Scott was born in South Shields.", document_id="scott", title="Ridley Scott")
SHIELDS = hit("South Shields is a coastal town.", document_id="shields", title="South Shields")
HITS = (ALIEN, CAST, SCOTT, SHIELDS)

JAWS = hit("Jaws is a film by Steven Spielberg.", document_id="jaws", title="Jaws")
SPIELBERG = hit("Steven Spielberg was born in Cincinnati.", document_id="spielberg")
JAWS_EXAMPLE = WorkedExample(
    "Where was the director of Jaws born?",
    "Cincinnati",
    (JAWS, SPIELBERG),
    (
        Step("Who directed Jaws?", "Steven Spielberg", (JAWS,)),
        Step("Where was Steven Spielberg born?", "Cincinnati", (SPIELBERG, JAWS)),
    ),
)
PLAIN_EXAMPLE = WorkedExample("Is Jaws a film?", "yes", (JAWS,))
EXAMPLES = (JAWS_EXAMPLE, PLAIN_EXAMPLE)


def shelf() -> FixedRetriever:
    return FixedRetriever([each.passage for each in HITS])


def text_of(context: str) -> str:
    """The text of a passage in its fence."""
    return context.splitlines()[1]


def words(prompt: Prompt) -> int:
    """What `ScriptedLLM` counts as tokens."""
    return len(f"{prompt.system} {prompt.user} {prompt.reply_prefix}".split())


UNLIMITED = Allowance()


@dataclass
class Driven:
    """What a program asked for, and its answer."""

    answer: Answer = Answer("")
    operations: list[Any] = field(default_factory=list)

    @property
    def generated(self) -> list[Generate]:
        return [each for each in self.operations if isinstance(each, Generate)]

    @property
    def prompts(self) -> list[Prompt]:
        return [each.prompt for each in self.generated]

    @property
    def queries(self) -> list[str]:
        return [each.query for each in self.operations if isinstance(each, Search)]


def drive(
    program: Any,
    replies: Iterable[str | Reply | Exception] = (),
    found: Sequence[Sequence[Hit]] = (),
    left: Allowance = UNLIMITED,
) -> Driven:
    """Feed a program by hand: replies and hits in turn, words for tokens, always as much left."""
    driven = Driven()
    waiting, shelved = deque(replies), deque(found)
    result: Any = None
    while True:
        try:
            step = program.throw if isinstance(result, Exception) else program.send
            operation = step(result)
        except StopIteration as stop:
            driven.answer = stop.value
            assert not waiting, "the program asked for all replies"
            return driven
        driven.operations.append(operation)
        match operation:
            case Search():
                result = list(shelved.popleft())[: operation.top_k] if shelved else []
            case Remaining():
                result = left
            case CountTokens(prompt):
                result = words(prompt)
            case Generate():
                reply = waiting.popleft()
                result = Reply(reply) if isinstance(reply, str) else reply
            case _:
                raise AssertionError(operation)
