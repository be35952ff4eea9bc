from rag.core.allocations import Allocation
from rag.pipelines import SelfAsk
from rag.pipelines.iter_drag import FINAL, FOLLOW_UP, INTERMEDIATE
from rag.testing import ScriptedLLM
from tests.pipelines.hops import (
    ALIEN,
    CAST,
    EXAMPLES,
    QUESTION,
    SCOTT,
    SHIELDS,
    Driven,
    drive,
    shelf,
    text_of,
)

CHAIN = [
    f"{FOLLOW_UP} Who directed Alien?",
    " Ridley Scott",
    f"{FOLLOW_UP} Where was Ridley Scott born?",
    " South Shields",
    f"{FINAL} South Shields",
]
FOUND = [[ALIEN, CAST], [SCOTT, SHIELDS]]


def driven(examples: int = 0) -> Driven:
    pipeline = SelfAsk(
        shelf(),
        ScriptedLLM(["unused"]),
        allocation=Allocation(2, examples, 3),
        examples=EXAMPLES,
    )
    return drive(pipeline.program(QUESTION), CHAIN, FOUND)


def test_only_sub_questions_are_searched_for() -> None:
    assert driven().queries == ["Who directed Alien?", "Where was Ridley Scott born?"]


def test_passages_make_place_for_those_of_the_next_sub_question() -> None:
    shown = [[text_of(each) for each in prompt.contexts] for prompt in driven().prompts]
    first = [CAST.passage.text, ALIEN.passage.text]
    second = [SHIELDS.passage.text, SCOTT.passage.text]
    assert shown == [[], first, first, second, second]


def test_the_lines_are_kept() -> None:
    assert driven().prompts[-1].reply_prefix.count(INTERMEDIATE) == 2
    answer = driven().answer
    assert (answer.text, answer.notes, len(answer.steps)) == ("South Shields [1]", (), 2)


def test_an_example_has_the_passages_of_its_steps_only() -> None:
    example = driven(1).prompts[0].contexts[0]
    assert example.count("<passage") == 2
    assert FOLLOW_UP in example
