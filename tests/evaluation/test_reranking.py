"""Reranking of a run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import ir_measures
import pytest

from rag.core.budgets import Budget
from rag.core.documents import Document
from rag.core.errors import CallFailed, DataError, InputError
from rag.core.generation import Prompt
from rag.core.hits import Hit
from rag.core.rankings import Ranking
from rag.evaluation import Query, RankedDocument, Run, rerank_run
from rag.rerankers.base import Reranker, reordered
from rag.rerankers.permutation import PermutationRanker
from rag.rerankers.sliding import SlidingWindow
from rag.testing import ScriptedLLM

DOCUMENTS = [Document(name, f"all about the letter {name}", f"Letter {name}") for name in "abcdef"]
RUN = Run(
    "first",
    {
        "q1": [RankedDocument(name, 10.0 - place) for place, name in enumerate("abcde")],
        "q2": [RankedDocument(name, 1.0) for name in "fed"],
    },
    Path("first.trec"),
)
QUERIES = [Query("q1", "one"), Query("q2", "two")]


class Reversing(Reranker):
    """Turns the hits around; fails where it is told to."""

    name = "reversing"

    def __init__(self, **errors: Exception) -> None:
        self.errors = errors
        self.seen: dict[str, list[Hit]] = {}

    async def program(self, query: str, hits: Sequence[Hit], top_k: int | None = None) -> Ranking:
        self.seen[query] = list(hits)
        if query in self.errors:
            raise self.errors[query]
        order = range(len(hits))[::-1][:top_k]
        return Ranking(reordered(self.name, hits, order, [1 / (1 + n) for n in range(len(order))]))


def order(run: Run, query: str) -> str:
    return "".join(each.id for each in run.rankings[query])


def test_the_first_are_reranked_and_the_others_follow() -> None:
    report = rerank_run(Reversing(), QUERIES, RUN, DOCUMENTS, depth=3)
    assert report.run.name == "reversing"
    assert order(report.run, "q1") == "cbade"
    assert order(report.run, "q2") == "def"
    assert report.errors == {}
    assert set(report.outcomes) == {"q1", "q2"}
    assert order(rerank_run(Reversing(), QUERIES, RUN, DOCUMENTS, top_k=2).run, "q1") == "edabc"


def test_documents_are_given_whole_with_the_run_s_scores() -> None:
    reranker = Reversing()
    rerank_run(reranker, QUERIES, RUN, DOCUMENTS, depth=2)
    first, second = reranker.seen["one"]
    assert (first.score, second.score) == (10.0, 9.0)
    assert (first.passage.document_id, first.passage.label) == ("a", "Letter a")
    assert first.passage.text == DOCUMENTS[0].text
    assert (first.passage.start, first.passage.end) == (0, len(DOCUMENTS[0].text))


def test_other_tools_read_the_same_order(tmp_path: Path) -> None:
    run = rerank_run(Reversing(), QUERIES, RUN, DOCUMENTS, depth=3).run
    run.write(tmp_path / "run.trec")
    assert Run.read(tmp_path / "run.trec") == run
    judgements = {"q1": {"a": 1, "d": 2}, "q2": {"f": 1}}
    measured = ir_measures.iter_calc(
        [ir_measures.RR], judgements, ir_measures.read_trec_run(str(tmp_path / "run.trec"))
    )
    assert {each.query_id: each.value for each in measured} == pytest.approx(
        {"q1": 1 / 3, "q2": 1 / 3}
    )


def test_only_the_queries_that_are_given_are_reranked() -> None:
    seen: list[tuple[str, int, int | None]] = []
    report = rerank_run(
        Reversing(),
        [Query("q2", "two"), Query("unranked", "?")],
        RUN,
        DOCUMENTS,
        progress=lambda *told: seen.append(told),
    )
    assert list(report.run.rankings) == ["q2"]
    assert seen == [("reranking", 0, 1), ("reranking", 1, 1)]


def test_a_query_for_which_nothing_was_found_stays_so() -> None:
    run = Run("first", {"q1": [], "q2": RUN.rankings["q2"]})
    reranker = SlidingWindow(PermutationRanker(ScriptedLLM(reply)))
    report = rerank_run(reranker, QUERIES, run, DOCUMENTS)
    assert report.run.rankings["q1"] == []
    assert set(report.outcomes) == {"q1", "q2"}


def test_a_query_that_fails_keeps_its_order_and_is_named() -> None:
    failing = Reversing(two=CallFailed("server", "it went away"))
    report = rerank_run(failing, QUERIES, RUN, DOCUMENTS, depth=3)
    assert order(report.run, "q1") == "cbade"
    assert order(report.run, "q2") == "fed"
    assert report.errors == {"q2": "server: it went away"}
    assert list(report.outcomes) == ["q1"]


def test_if_all_fail_the_first_failure_is_raised() -> None:
    failing = Reversing(one=CallFailed("server", "gone"), two=CallFailed("server", "still gone"))
    with pytest.raises(CallFailed, match="server: gone"):
        rerank_run(failing, QUERIES, RUN, DOCUMENTS)


def test_a_defect_is_not_taken_for_a_failed_query() -> None:
    with pytest.raises(ZeroDivisionError):
        rerank_run(Reversing(two=ZeroDivisionError()), QUERIES, RUN, DOCUMENTS)


def test_a_missing_document_is_named_before_anything_is_asked() -> None:
    def read() -> Iterator[Document]:
        yield from DOCUMENTS[:-1]

    reranker = Reversing()
    with pytest.raises(DataError, match=r"^first\.trec: ranks f for query q2, .* not among"):
        rerank_run(reranker, QUERIES, RUN, read())
    assert reranker.seen == {}
    assert order(rerank_run(reranker, QUERIES[:1], RUN, read()).run, "q1") == "edcba"


def test_what_cannot_be_reranked_is_refused() -> None:
    with pytest.raises(InputError, match="depth is 0"):
        rerank_run(Reversing(), QUERIES, RUN, DOCUMENTS, depth=0)
    with pytest.raises(DataError, match=r"first\.trec: has none of the queries"):
        rerank_run(Reversing(), [Query("q3", "three")], RUN, DOCUMENTS)


def reply(prompt: Prompt) -> str:
    """Put the last passage first; say nothing usable of two passages."""
    count = len(prompt.contexts)
    return f"{count}] > " + " > ".join(f"[{n}]" for n in range(1, count)) if count > 2 else "none"


def test_what_came_of_windows_is_counted_and_usage_added_up() -> None:
    llm = ScriptedLLM(reply)
    reranker = SlidingWindow(PermutationRanker(llm), window=3, stride=2, passage_tokens=4)
    report = rerank_run(reranker, QUERIES, RUN, DOCUMENTS)
    assert order(report.run, "q1") == "eabcd"
    assert order(report.run, "q2") == "dfe"
    assert report.statuses == {"ok": 3}
    assert report.usage.calls == sum(len(prompts) for _, prompts in llm.calls) == 3
    assert {query: each.usage.calls for query, each in report.outcomes.items()} == {
        "q1": 2,
        "q2": 1,
    }
    assert report.notes == {"passages shortened to 4 tokens": 2}
    assert report.incomplete == []
    assert not any(each.hits for each in report.outcomes.values())


def test_windows_without_an_order_are_counted() -> None:
    report = rerank_run(
        SlidingWindow(PermutationRanker(ScriptedLLM(reply))), QUERIES, RUN, DOCUMENTS, depth=2
    )
    assert report.statuses == {"unreadable": 2}
    assert order(report.run, "q1") == "abcde"


def test_a_query_that_its_budget_ends_early_is_named() -> None:
    reranker = SlidingWindow(PermutationRanker(ScriptedLLM(reply)), window=3, stride=2)
    report = rerank_run(reranker, QUERIES, RUN, DOCUMENTS, budget=Budget(calls=1))
    assert report.incomplete == ["q1"]
    assert report.statuses == {"ok": 2, "skipped": 1}
    assert order(report.run, "q1") == "abecd"
    assert report.notes == {"the order is not the method's own": 1}
