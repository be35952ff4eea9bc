import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

import pytest

from rag.core.answers import Answer
from rag.core.budgets import Allowance, Budget
from rag.core.documents import Document
from rag.core.errors import BatchError, BudgetExhausted, EngineFailed, SearchFailed
from rag.core.filters import Where
from rag.core.generation import Prompt, Reply
from rag.core.hits import Hit
from rag.core.operations import Generate, Limited, Remaining, Together
from rag.core.search_operations import Search
from rag.core.sensitivity import PUBLIC
from rag.core.web import TimeRange
from rag.pipelines.extractive import NOTHING_FOUND
from rag.pipelines.extractor import Extractor
from rag.pipelines.search_and_read import UNSEARCHED, SearchAndRead
from rag.pipelines.search_planner import SearchPlan, SearchPlanner
from rag.rerankers import PermutationRanker, SlidingWindow
from rag.retrievers.web import WebRetriever
from rag.testing import FixedRetriever, ScriptedLLM
from rag.testing.loopback_web import LoopbackSearXNG, LoopbackWeb
from rag.web.engines.searxng import SearXNG
from rag.web.fetcher import WebFetcher
from tests.pipelines.passages import LIMITS, WAL

QUESTION = "How do I enable WAL mode?"
ENABLE = "Enable it with PRAGMA journal_mode=WAL; it then persists."


def planned(*queries: str, search: bool = True, time_range: str = "any") -> str:
    return json.dumps({"needs_search": search, "queries": queries, "time_range": time_range})


class Answering:
    """Replies by stage, told by the system message."""

    def __init__(self, plan: str, read: str = ENABLE, extract: str = "none") -> None:
        self.plan, self.read, self.extract = plan, read, extract

    def __call__(self, prompt: Prompt) -> str:
        if "plan web searches" in prompt.system:
            return self.plan
        return self.extract if "sentences are numbered" in prompt.system else self.read


def retriever(**results: Sequence[Hit]) -> FixedRetriever:
    """A retriever that finds hits for queries of one word, and nothing for others."""
    return FixedRetriever(
        results={query: [hit.passage for hit in hits] for query, hits in results.items()}
    )


def answer(
    source: Any, reply: Callable[[Prompt], str], *, budget: Budget | None = None, **options: Any
) -> Answer:
    pipeline = SearchAndRead(source, ScriptedLLM(reply), **options)
    return pipeline.answer(QUESTION, budget=budget)


def searched(program: Any, hits: list[Hit]) -> tuple[Search, Any]:
    """Feed hits to a member that searches; return what it asked for, and what it returned."""
    search = program.send(None)
    with pytest.raises(StopIteration) as stop:
        program.send(hits)
    return search, stop.value.value


def test_it_plans_searches_side_by_side_fuses_and_reads() -> None:
    pipeline = SearchAndRead(FixedRetriever(), ScriptedLLM([]), top_k=2)
    program = pipeline.program(QUESTION, {"lang": "en"})
    assert isinstance(program.send(None), Remaining)
    planning = program.send(Allowance(tokens=1000, calls=3, seconds=9.0))
    assert isinstance(planning, Limited)
    assert planning.budget == Budget(500, 1, 4.5)
    cast(Coroutine[Any, Any, Any], planning.program).close()
    searching = program.send(SearchPlan(True, ("wal", "pragma")))
    assert isinstance(searching, Together)
    found = [[LIMITS, WAL], [WAL]]
    searches, results = zip(*map(searched, searching.members, found), strict=True)
    where = {"lang": "en"}
    assert searches == (Search("wal", 2, where), Search("pragma", 2, where))
    assert isinstance(program.send(results), Remaining)
    reading = program.send(Allowance())
    assert isinstance(reading, Generate)
    assert reading.stage == "read"
    assert WAL.passage.text in reading.prompt.contexts[-1]
    with pytest.raises(StopIteration) as stop:
        program.send(Reply(ENABLE))
    read: Answer = stop.value.value
    assert read.supported
    assert read.citations[0].document_id == "wal.html"
    assert [(each.question, each.hits) for each in read.steps] == [
        ("wal", (LIMITS, WAL)),
        ("pragma", (WAL,)),
    ]


def test_an_answer_without_a_search_says_so() -> None:
    found = answer(retriever(wal=[WAL]), Answering(planned(search=False), " Hello! "))
    assert (found.text, found.supported, found.citations) == ("Hello!", False, ())
    assert found.notes == (UNSEARCHED,)
    assert [stage for stage, _ in found.stages] == ["plan", "answer"]


def test_without_a_call_there_is_no_answer_either() -> None:
    planner = SearchPlanner(mode="never")
    found = answer(retriever(), Answering(""), planner=planner, budget=Budget(calls=0))
    assert (found.text, found.supported) == ("", False)
    assert found.notes[0].startswith("neither a search nor an answer: budget of 0 calls")


def test_what_is_found_is_read_and_cited() -> None:
    found = answer(retriever(wal=[WAL, LIMITS]), Answering(planned("wal", "nothing")))
    assert found.text == f"{ENABLE} [1]"
    assert found.citations[0].quote == ENABLE
    assert (found.supported, found.notes) == (True, ())
    assert [len(step.hits) for step in found.steps] == [2, 0]
    assert [stage for stage, usage in found.stages if usage.calls] == ["plan", "read"]
    assert found.usage.searches == 2


def test_finding_nothing_says_so() -> None:
    found = answer(retriever(), Answering(planned("wal")))
    assert (found.text, found.supported) == (NOTHING_FOUND, False)
    assert found.notes == ("the search found nothing",)
    assert [step.question for step in found.steps] == ["wal"]


class Failing(FixedRetriever):
    """Finds a passage for every query but one."""

    def search_many(
        self, queries: Sequence[str], top_k: int, where: Where | None = None
    ) -> list[list[Hit]]:
        error = EngineFailed("fixed", "blocked", "it refuses to serve this client")
        results = [error if query == "pragma" else [WAL] for query in queries]
        if error in results:
            raise BatchError(results)
        return [each for each in results if isinstance(each, list)]


def test_searches_that_fail_are_noted_while_others_do_not() -> None:
    found = answer(Failing(), Answering(planned("pragma", "wal")))
    assert found.supported
    assert len(found.notes) == 1
    assert "it refuses to serve this client" in found.notes[0]
    assert [len(step.hits) for step in found.steps] == [0, 1]


def test_a_search_that_fails_altogether_is_not_an_empty_one() -> None:
    with pytest.raises(SearchFailed, match="refuses to serve"):
        answer(Failing(), Answering(planned("pragma")))


class Archive(FixedRetriever):
    """Has one recent text."""

    def within(self, time_range: TimeRange | None) -> FixedRetriever:
        return FixedRetriever(results={"limits": [LIMITS.passage]}, name=f"last {time_range}")


ARCHIVE = {"wal": [WAL.passage], "limits": [WAL.passage]}


def test_a_time_range_is_kept_to() -> None:
    found = answer(Archive(results=ARCHIVE), Answering(planned("limits", time_range="week")))
    assert found.steps[0].hits[0].passage == LIMITS.passage
    assert "last week" in found.steps[0].hits[0].scores


def test_where_nothing_is_that_recent_any_age_is_searched() -> None:
    found = answer(Archive(results=ARCHIVE), Answering(planned("wal", time_range="day")))
    assert found.steps[0].hits[0].passage == WAL.passage
    assert found.notes == ("nothing of the last day was found; any age was searched",)


def test_a_time_range_that_the_retriever_does_not_know_is_noted() -> None:
    found = answer(retriever(wal=[WAL]), Answering(planned("wal", time_range="day")))
    assert found.supported
    assert found.notes == ("searched without the plan's time range, the last day",)


def test_what_the_planner_could_not_do_is_noted() -> None:
    source = FixedRetriever(results={QUESTION: [WAL.passage]})
    found = answer(source, Answering("I would search."))
    assert found.supported
    assert found.notes[0].startswith("the search was not planned")
    assert source.queries == [QUESTION]


def test_a_reranker_chooses_among_the_candidates_of_all_queries() -> None:
    ranker = SlidingWindow(PermutationRanker(ScriptedLLM(lambda _: "2] > [1]")))
    source = retriever(wal=[WAL], limits=[LIMITS])
    found = answer(source, Answering(planned("wal", "limits")), top_k=1, reranker=ranker)
    (hit,) = found.hits
    assert hit.ranks["retrieved"] == 2


def test_an_extractor_leaves_the_sentences_that_help() -> None:
    reply = Answering(planned("wal"), extract="2")
    found = answer(retriever(wal=[WAL]), reply, extractor=Extractor())
    (hit,) = found.hits
    assert hit.passage.text == ENABLE
    assert found.citations[0].quote == ENABLE
    assert (found.citations[0].start, hit.passage.start) == (hit.passage.start, 1028)
    assert [stage for stage, usage in found.stages if usage.calls] == ["plan", "extract", "read"]


def test_where_no_sentence_helps_the_passages_are_read() -> None:
    found = answer(retriever(wal=[WAL]), Answering(planned("wal")), extractor=Extractor())
    assert found.supported
    assert found.notes == ("no sentence was found to help; the passages are read as they are",)


def test_something_of_the_budget_stays_to_read_with() -> None:
    source = FixedRetriever(results={QUESTION: [WAL.passage], "wal": [WAL.passage]})
    reply = Answering(planned("wal"), extract="2")
    one = answer(source, reply, extractor=Extractor(), budget=Budget(calls=1))
    assert one.supported
    assert [stage for stage, usage in one.stages if usage.calls] == ["read"]
    assert "budget of 0 calls" in one.notes[0]
    assert one.notes[1] == "pages not extracted, skipped: 1 of 1"
    assert answer(source, reply, extractor=Extractor(), budget=Budget(calls=3)).usage.calls == 3


@pytest.mark.parametrize("tokens", range(0, 700, 25))
def test_no_budget_is_overrun_and_there_is_an_answer(tokens: int) -> None:
    source = FixedRetriever(results={QUESTION: [WAL.passage], "wal": [WAL.passage]})
    reply = Answering(planned("wal"), extract="2")
    found = answer(source, reply, extractor=Extractor(), budget=Budget(tokens=tokens))
    assert found.usage.input_tokens <= tokens
    assert found.text
    assert found.supported


def test_a_budget_that_allows_no_search_is_an_error() -> None:
    with pytest.raises(BudgetExhausted):
        answer(retriever(wal=[WAL]), Answering(planned("wal")), budget=Budget(seconds=0))


def test_many_questions_are_planned_and_read_in_batches() -> None:
    llm = ScriptedLLM(Answering(planned("wal")))
    pipeline = SearchAndRead(retriever(wal=[WAL]), llm)
    answers = pipeline.answer_many([QUESTION, "Does WAL persist?"])
    assert [each.supported for each in answers] == [True, True]
    assert [len(prompts) for _, prompts in llm.calls] == [2, 2]


def test_pages_of_a_real_web_are_searched_extracted_and_cited() -> None:
    pages = {"/wal": f"<h1>WAL</h1><p>{WAL.passage.text}</p>", "/herons": "<p>Herons wait.</p>"}
    reply = Answering(planned("wal mode pragma", time_range="week"), extract="2-3")
    with LoopbackWeb(pages) as web, WebFetcher(allow=["127.0.0.0/8"]) as fetcher:
        documents = [Document(web.url(path), html) for path, html in pages.items()]
        with LoopbackSearXNG(documents) as engine:
            source = WebRetriever([SearXNG(engine.url(), per_second=1000)], fetcher)
            found = answer(source, reply, extractor=Extractor())
            asked = [request.path for request in engine.requests]
    assert ["time_range=week" in path for path in asked] == [True, False]
    assert found.supported
    (citation,) = found.citations
    assert (citation.quote, citation.uri) == (ENABLE, web.url("/wal"))
    (hit,) = found.hits
    assert hit.passage.text.endswith(ENABLE)
    assert "Readers do not" not in hit.passage.text
    assert found.sensitivity == PUBLIC
    assert "nothing of the last week was found; any age was searched" in found.notes
