from typing import Any

import pytest

from rag.core.answers import Answer
from rag.core.budgets import Allowance, Budget
from rag.core.errors import BatchError, BudgetExhausted
from rag.core.events import Outcome, TextDelta
from rag.core.generation import Reply
from rag.core.hits import Hit
from rag.core.operations import CountTokens, Generate, Remaining
from rag.core.search_operations import Search
from rag.pipelines import RetrieveAndRead, metered
from rag.pipelines.extractive import NOTHING_FOUND
from rag.pipelines.read import NOT_ANSWERED
from rag.rerankers import PermutationRanker, SlidingWindow
from rag.testing import ScriptedLLM
from tests.core.backends import WordLLM
from tests.pipelines.passages import LIMITS, WAL

HITS = [WAL, LIMITS]


class Shelf:
    name = "shelf"

    def __init__(self, hits: list[Hit]) -> None:
        self.hits = hits

    def search_many(self, queries: Any, top_k: int, where: object = None) -> list[list[Hit]]:
        return [self.hits[:top_k] for _ in queries]


def pipeline(reply: str = "", hits: list[Hit] | None = None, **options: Any) -> RetrieveAndRead:
    llm = WordLLM(lambda question: reply, **options)
    return RetrieveAndRead(Shelf(HITS if hits is None else hits), llm)


def finish(program: Any, result: Any) -> Answer:
    step = program.throw if isinstance(result, Exception) else program.send
    with pytest.raises(StopIteration) as stop:
        step(result)
    return stop.value.value


def test_it_searches_fits_reads_and_cites() -> None:
    program = pipeline().program("How do I enable WAL mode?", {"lang": "en"})
    assert program.send(None) == Search("How do I enable WAL mode?", 5, {"lang": "en"})
    assert isinstance(program.send(HITS), Remaining)
    generate = program.send(Allowance())
    assert isinstance(generate, Generate)
    assert generate.stage == "read"
    assert len(generate.prompt.contexts) == 2
    answer = finish(program, Reply("With PRAGMA journal_mode=WAL."))
    assert answer.text == "With PRAGMA journal_mode=WAL. [1]"
    assert answer.citations[0].document_id == "wal.html"
    assert (answer.supported, answer.notes, answer.hits) == (True, (), (WAL, LIMITS))


def test_passages_that_do_not_fit_are_left_out_worst_first_and_noted() -> None:
    program = pipeline().program("journal mode?")
    program.send(None)
    program.send(HITS)
    counting = program.send(Allowance(tokens=100, context_window=8192))
    assert isinstance(counting, CountTokens)
    counting = program.send(101)
    assert isinstance(counting, CountTokens)
    assert len(counting.prompt.contexts) == 1
    assert WAL.passage.text in counting.prompt.contexts[0]
    generate = program.send(100)
    assert generate == Generate(counting.prompt, generate.sampling, stage="read")
    answer = finish(program, Reply("PRAGMA journal_mode=WAL", finish="length"))
    assert answer.hits == (WAL,)
    assert answer.notes == (
        "passages left out for lack of room: 1 of 2",
        "the reply was cut at 128 tokens",
    )


def test_with_no_room_to_read_it_quotes() -> None:
    program = pipeline().program("How many columns has a table?")
    program.send(None)
    program.send(HITS)
    program.send(Allowance(tokens=10))
    program.send(500)
    answer = finish(program, 400)
    assert answer.text.startswith("A table has at most 2000 columns. [1]")
    assert "not even one passage fits" in answer.notes[0]


def test_with_no_call_left_it_quotes() -> None:
    program = pipeline().program("How many columns has a table?")
    program.send(None)
    program.send(HITS)
    program.send(Allowance())
    answer = finish(program, BudgetExhausted("calls", 0, 0, 1, "read"))
    assert answer.citations
    assert "budget of 0 calls exhausted" in answer.notes[0]


@pytest.mark.parametrize("reply", ["Not in the documents.", "not in the documents"])
def test_a_refusal_is_no_answer(reply: str) -> None:
    answer = pipeline(reply).answer("Who wrote Hamlet?")
    assert (answer.text, answer.supported, answer.notes) == (NOT_ANSWERED, False, ())


def test_an_invention_is_not_passed_on() -> None:
    answer = pipeline("Shakespeare wrote it in 1600.").answer("Who wrote Hamlet?")
    assert (answer.text, answer.supported, answer.citations) == (NOT_ANSWERED, False, ())
    assert "'Shakespeare wrote it in 1600.'" in answer.notes[0]


def test_half_an_invention_is_noted() -> None:
    reply = "Enable it with PRAGMA journal_mode=WAL. Shakespeare liked it."
    answer = pipeline(reply).answer("How?")
    assert answer.supported
    assert answer.text == "Enable it with PRAGMA journal_mode=WAL. [1]"
    assert answer.notes == (
        "left out of the model's reply for lack of support: 'Shakespeare liked it.'",
    )


def test_an_invention_gives_way_to_what_the_documents_say() -> None:
    answer = pipeline("Exactly 10 of them.").answer("How many columns can a table have?")
    assert answer.text == "A table has at most 2000 columns. [1]"
    assert "'Exactly 10 of them.'" in answer.notes[0]
    assert "quoted instead" in answer.notes[1]


def test_finding_nothing_says_so_without_a_call() -> None:
    answer = pipeline("made up", hits=[]).answer("anything")
    assert (answer.text, answer.supported) == (NOTHING_FOUND, False)
    assert answer.usage.calls == 0


def test_answers_are_metered_by_stage() -> None:
    answer = pipeline("PRAGMA journal_mode=WAL").answer("How?", budget=Budget(tokens=500))
    assert [stage for stage, _ in answer.stages] == ["search", "count_tokens", "read"]
    assert answer.usage.input_tokens == dict(answer.stages)["read"].input_tokens > 0
    assert answer.usage.calls == 1


def test_many_questions_are_read_in_one_batch_and_failures_lose_nothing() -> None:
    def reply(question: str) -> str:
        if "bad" in question:
            raise ValueError("no")
        return "PRAGMA journal_mode=WAL"

    llm = WordLLM(reply)
    reader = RetrieveAndRead(Shelf(HITS), llm)
    assert [a.supported for a in reader.answer_many(["How?", "And how?"])] == [True, True]
    assert [len(batch) for batch in llm.batches] == [2]
    with pytest.raises(BatchError) as caught:
        reader.answer_many(["How?", "bad?"])
    good, bad = caught.value.results
    assert good.supported
    assert isinstance(bad, ValueError)


def reranking(ranking: str, **options: Any) -> RetrieveAndRead:
    reranker = SlidingWindow(PermutationRanker(ScriptedLLM(lambda prompt: ranking)))
    reader = WordLLM(lambda question: "A table has at most 2000 columns.")
    return RetrieveAndRead(Shelf(HITS), reader, top_k=1, reranker=reranker, **options)


def test_a_reranker_chooses_what_is_read() -> None:
    answer = reranking("2] > [1]").answer("How many columns can a table have?")
    (hit,) = answer.hits
    assert hit.passage == LIMITS.passage
    assert hit.ranks["retrieved"] == 2
    assert answer.citations[0].document_id == LIMITS.passage.document_id
    assert answer.notes == ()
    assert [stage for stage, usage in answer.stages if usage.calls] == ["rerank", "read"]


def test_it_chooses_from_as_many_as_it_is_told_to() -> None:
    program = reranking("2] > [1]", candidates=7).program("How?", {"lang": "en"})
    assert program.send(None) == Search("How?", 7, {"lang": "en"})
    program.close()


def test_what_a_reranker_did_not_do_is_noted() -> None:
    answer = reranking("I would rather not.").answer("How many columns?")
    assert answer.hits[0].passage == WAL.passage
    assert answer.notes[0] == "windows unreadable: 1 of 1"


def test_a_reranker_leaves_half_of_the_budget_to_read_with() -> None:
    assert reranking("2] > [1]").answer("How?", budget=Budget(calls=2)).usage.calls == 2
    answer = reranking("2] > [1]").answer("How?", budget=Budget(calls=1))
    assert answer.hits[0].passage == WAL.passage
    assert [stage for stage, usage in answer.stages if usage.calls] == ["read"]
    assert "the order is not the method's own: budget of 0 calls" in answer.notes[0]
    assert answer.notes[1] == "windows skipped: 1 of 1"


def test_a_stream_ends_with_the_answer() -> None:
    events = list(pipeline("PRAGMA journal_mode=WAL").stream("How?"))
    written = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert written == "PRAGMA journal_mode=WAL"
    assert isinstance(events[-1], Outcome)
    assert metered(events[-1]).usage.calls == 1
