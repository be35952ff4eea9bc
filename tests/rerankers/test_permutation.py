import pytest

from rag.core.engine import Engine
from rag.core.generation import Reply
from rag.core.operations import Generate
from rag.rerankers.permutation import PermutationRanker
from rag.rerankers.sliding import FullRanking, SlidingWindow
from rag.rerankers.windows import WindowOrder
from rag.testing import EchoLLM, ScriptedLLM
from tests.rerankers.oracle import OracleLLM, hits_worth, worths_of


def ranked(reply: str, count: int = 4, top: int | None = None) -> WindowOrder:
    llm = ScriptedLLM([reply], capabilities={"generate", "exact_counts"})
    ranker = PermutationRanker(llm)
    return Engine().run(ranker.rank("q", hits_worth(range(count)), top or count))


def test_the_written_order_is_the_order() -> None:
    found = ranked("[2] > [4] > [1] > [3]")
    assert found.order == (1, 3, 0, 2)
    assert found.report.status == "ok"
    assert found.logprobs == ()


def test_each_repair_is_counted() -> None:
    report = ranked("[2] > [9] > [2] > [1]").report
    assert ranked("[2] > [9] > [2] > [1]").order == (1, 0, 2, 3)
    assert (report.status, report.duplicates, report.unknown, report.omitted) == (
        "repaired",
        1,
        1,
        2,
    )


@pytest.mark.parametrize(
    "reply",
    ["I'm sorry, I cannot rank these passages.", "Error code: 429, try again in 3 seconds", ""],
)
def test_a_reply_without_an_order_keeps_the_window_and_says_so(reply: str) -> None:
    found = ranked(reply)
    assert found.order == (0, 1, 2, 3)
    assert found.report.status == "unreadable"
    assert repr(reply) in found.report.reason


def test_only_as_many_as_wanted_are_asked_for() -> None:
    llm = OracleLLM()
    ranking = FullRanking(PermutationRanker(llm)).rerank("q", hits_worth(range(30)), top_k=3)
    assert worths_of(ranking) == [29, 28, 27]
    assert "the 3 most relevant" in llm.calls[-1][1][0].question
    assert ranking.usage.output_tokens <= 2 * 3


def test_fewer_than_the_wanted_ones_are_omitted() -> None:
    assert ranked("[2] > [4]", top=2).report.status == "ok"
    assert ranked("[2] > [4]", top=2).order == (1, 3, 0, 2)
    assert ranked("[2]", top=2).report.omitted == 1


def test_the_reply_begins_with_a_bracket_where_it_can_be_begun() -> None:
    """Driven by hand: the bracket is part of what is parsed."""
    program = PermutationRanker(EchoLLM()).rank("q", hits_worth([1, 2]), 2)
    counts = program.send(None)
    asked = program.send(tuple(5 * number for number, _ in enumerate(counts.members))[::-1])
    assert isinstance(asked, Generate)
    assert asked.prompt.reply_prefix == "["
    assert asked.sampling.max_tokens == 6
    with pytest.raises(StopIteration) as ended:
        program.send(Reply("2] > [1]"))
    assert ended.value.value.order == (1, 0)


def test_passes_of_windows_with_written_orders() -> None:
    ranking = SlidingWindow(PermutationRanker(OracleLLM())).rerank("q", hits_worth(range(45)))
    assert worths_of(ranking)[:10] == list(range(44, 34, -1))
    assert ranking.usage.calls == 4
