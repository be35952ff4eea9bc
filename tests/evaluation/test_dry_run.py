import pytest

from rag.core.allocations import Allocation
from rag.core.engine import Engine
from rag.core.errors import Unsupported
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.protocols import LLM
from rag.core.usage import Usage
from rag.core.worked_examples import WorkedExample
from rag.evaluation.dry_run import DryRunLLM
from rag.evaluation.example_building import build_examples
from rag.pipelines import IterDRAG
from rag.pipelines.strategies import make_pipeline
from rag.testing import EchoLLM, ScriptedLLM
from tests.evaluation.capitals import QUERIES, RETRIEVER, reply

TEXTS = [each.text for each in QUERIES]


@pytest.fixture(scope="module")
def examples() -> tuple[WorkedExample, ...]:
    pipeline = IterDRAG(RETRIEVER, ScriptedLLM(reply), allocation=Allocation(2, 0, 1))
    return build_examples(QUERIES[4:], lambda _: pipeline).examples


def usages(
    strategy: str, allocation: Allocation, llm: LLM, examples: tuple[WorkedExample, ...]
) -> list[Usage]:
    pipeline = make_pipeline(strategy, allocation, RETRIEVER, llm, examples=examples)
    programs = [pipeline.program(text) for text in TEXTS[:4]]
    outcomes = Engine(llm=llm, retriever=RETRIEVER).run_many(programs)
    assert [outcome.error for outcome in outcomes] == [None] * 4
    return [outcome.usage for outcome in outcomes]


@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("m", [0, 2])
def test_drag_reads_the_same(k: int, m: int, examples: tuple[WorkedExample, ...]) -> None:
    llm = ScriptedLLM(reply)
    really = usages("DRAG", Allocation(k, m), llm, examples)
    asked = len(llm.calls)
    dry = usages("DRAG", Allocation(k, m), DryRunLLM(llm, TEXTS), examples)
    assert len(llm.calls) == asked
    for each, guess in zip(really, dry, strict=True):
        assert (guess.calls, guess.input_tokens) == (each.calls, each.input_tokens)
        assert guess.output_tokens >= each.output_tokens


@pytest.mark.parametrize("strategy", ["IterDRAG", "Self-Ask"])
@pytest.mark.parametrize("n", [1, 3])
def test_all_sub_questions_are_asked(
    strategy: str, n: int, examples: tuple[WorkedExample, ...]
) -> None:
    llm = ScriptedLLM(reply)
    allocation = Allocation(1, 1, n)
    really = usages(strategy, allocation, llm, examples)
    asked = len(llm.calls)
    dry = usages(strategy, allocation, DryRunLLM(llm, TEXTS), examples)
    assert len(llm.calls) == asked
    assert [guess.calls for guess in dry] == [2 * n + 1] * 4
    for each, guess in zip(really, dry, strict=True):
        assert guess.calls >= each.calls
        assert guess.input_tokens >= each.input_tokens
        assert guess.output_tokens >= each.output_tokens


def test_sub_questions_find_passages_of_their_own() -> None:
    llm = ScriptedLLM(reply)
    none, one = (
        sum(each.input_tokens for each in usages("IterDRAG", allocation, DryRunLLM(llm, TEXTS), ()))
        for allocation in (Allocation(0, 0, 3), Allocation(1, 0, 3))
    )
    shown, nothing = (
        sum(each.input_tokens for each in usages("DRAG", Allocation(k), DryRunLLM(llm, TEXTS), ()))
        for k in (1, 0)
    )
    # Seven calls a question: with one and the same passage, each would read that much more.
    assert one - none > 2 * 7 * (shown - nothing)


def test_replies_follow_the_sampling_and_are_all_different() -> None:
    llm = EchoLLM()
    dry = DryRunLLM(llm, ["one text"])
    prompts = [Prompt("a b"), Prompt("c d e")]
    replies = dry.generate(prompts, Sampling(max_tokens=7, starts_with=("So", "Thus")))
    assert [each.text for each in replies] == ["So 1 one text", "So 2 one text"]
    assert [each.input_tokens for each in replies] == llm.count_tokens(prompts) == [2, 3]
    assert [each.output_tokens for each in replies] == [7, 7]
    (chosen,) = dry.generate(prompts[:1], Sampling(choices=("yes", "no")))
    assert chosen.text == "yes"
    (last,) = dry.stream(prompts[0], Sampling(max_tokens=7))
    assert last == Reply("3 one text", input_tokens=2, output_tokens=7)
    assert llm.calls == []


def test_what_needs_the_model_itself_is_refused() -> None:
    dry = DryRunLLM(EchoLLM(), TEXTS)
    assert isinstance(dry, LLM)
    assert not dry.capabilities & {"score", "next_token", "logprobs", "json_schema"}
    with pytest.raises(Unsupported, match="dry run of echo does not support score"):
        dry.score([Prompt("a")], ["b"])
    with pytest.raises(Unsupported, match="dry run of echo does not support next_token"):
        dry.next_token([Prompt("a")], ["b"])
