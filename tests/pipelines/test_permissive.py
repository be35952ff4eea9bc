"""Answers under the lowest label that serves, and never under one that their run could not have."""

from typing import Never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.budgets import Budget
from rag.core.documents import Passage
from rag.core.errors import CallFailed, InputError, Unsupported
from rag.core.generation import Prompt
from rag.core.sensitivity import INTERNAL, PUBLIC
from rag.pipelines import ExtractiveRead, RetrieveAndRead
from rag.pipelines.permissive import PermissivePipeline
from rag.testing import EchoLLM, FixedRetriever, ScriptedLLM

QUESTION = "When was the bridge opened to traffic?"
FACT = "The bridge was opened to traffic in 1932 by the mayor."


def passage(name: str, text: str, sensitivity: str | list[str] | None) -> Passage:
    metadata = {} if sensitivity is None else {"sensitivity": sensitivity}
    return Passage(name, name, text, 0, len(text), metadata=metadata)


def reader() -> EchoLLM:
    """A model that finds the fact if it is shown it."""

    def reply(prompt: Prompt) -> str:
        return FACT if FACT in prompt.user else "Not in the documents."

    return ScriptedLLM(reply)


def pipeline(*passages: Passage, llm: EchoLLM | None = None) -> RetrieveAndRead:
    retriever = FixedRetriever(passages, results={QUESTION: passages})
    return RetrieveAndRead(retriever, llm or reader(), top_k=len(passages))


def test_an_answer_that_public_passages_give_as_well_is_public() -> None:
    memo = passage("memo", "The bridge costs us two million a year to maintain.", None)
    llm = reader()
    found = PermissivePipeline(pipeline(passage("page", FACT, "public"), memo, llm=llm)).answer(
        QUESTION
    )
    assert found.sensitivity == PUBLIC
    assert "1932" in found.text
    assert [hit.passage.id for hit in found.hits] == ["page"]
    assert "answered anew from what is public" in found.notes
    # The first run, the comparison and the second run are all paid for.
    assert dict(found.stages)["compare"].calls == 2
    assert found.usage.calls == 4
    # What the last call read had nothing internal in it.
    assert "maintain" not in llm.calls[-1][1][0].user


def test_an_answer_that_needs_the_internal_passage_stays_internal() -> None:
    page = passage("page", "Bridges are opened to traffic once they are safe.", "public")
    found = PermissivePipeline(pipeline(page, passage("memo", FACT, None))).answer(QUESTION)
    assert found.sensitivity == INTERNAL
    assert "1932" in found.text


def test_levels_are_tried_from_the_least_sensitive() -> None:
    levels = [frozenset({"hr", "internal"}), PUBLIC, INTERNAL]
    passages = [passage("memo", FACT, "internal"), passage("file", "A salary is paid.", "hr")]
    found = PermissivePipeline(pipeline(*passages), levels).answer(QUESTION)
    assert found.sensitivity == INTERNAL


def test_an_answer_that_is_public_already_is_not_compared() -> None:
    found = PermissivePipeline(pipeline(passage("page", FACT, "public"))).answer(QUESTION)
    assert found.sensitivity == PUBLIC
    assert found.usage.calls == 1


def test_without_the_budget_to_compare_the_first_answer_stands() -> None:
    passages = [passage("page", FACT, "public"), passage("memo", "Unrelated.", None)]
    found = PermissivePipeline(pipeline(*passages)).answer(QUESTION, budget=Budget(calls=1))
    assert found.sensitivity == INTERNAL
    assert any(note.startswith("less sensitive passages were not tried") for note in found.notes)
    assert found.usage.calls == 1


def test_an_error_on_the_way_loses_no_answer() -> None:
    class Scoreless(ScriptedLLM):
        def score(self, prompts: object, continuations: object) -> Never:
            raise CallFailed(self.name, "no answer")

    llm = Scoreless(lambda prompt: FACT)
    passages = [passage("page", FACT, "public"), passage("memo", "Unrelated.", None)]
    found = PermissivePipeline(pipeline(*passages, llm=llm)).answer(QUESTION)
    assert "1932" in found.text
    assert found.sensitivity == INTERNAL
    assert any("not tried to the end: scripted: no answer" in note for note in found.notes)


def test_a_pipeline_that_cannot_compare_is_refused() -> None:
    retriever = FixedRetriever()
    with pytest.raises(InputError, match="without a model"):
        PermissivePipeline(ExtractiveRead(retriever))
    with pytest.raises(Unsupported, match="score"):
        PermissivePipeline(RetrieveAndRead(retriever, EchoLLM(capabilities={"generate"})))


TAGS = st.sampled_from(["public", "internal", "hr", "board"])


@given(
    st.lists(st.lists(TAGS, min_size=1, max_size=2), min_size=1, max_size=5),
    st.lists(st.frozensets(st.sampled_from(["internal", "hr", "board"])), max_size=3),
)
def test_no_answer_has_a_label_lower_than_what_its_run_read(
    tags: list[list[str]], levels: list[frozenset[str]]
) -> None:
    words = ["opened", "traffic", "bridge", "1932", "mayor"]
    passages = [
        passage(str(n), f"The bridge was opened in {words[n]}.", each)
        for n, each in enumerate(tags)
    ]
    found = PermissivePipeline(pipeline(*passages, llm=EchoLLM()), levels, tolerance=9.0).answer(
        QUESTION
    )
    read = PUBLIC.union(*(hit.passage.sensitivity for hit in found.hits))
    assert found.sensitivity is not None
    assert read <= found.sensitivity
