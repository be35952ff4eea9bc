"""No page makes us tell what others say, and no answer cites what is not there."""

import re

import pytest

from rag.core.sensitivity import INTERNAL, PUBLIC
from tests.web.injection.conftest import SmallWeb
from tests.web.injection.obedience import CANARY, CASES, SEARCHING_AGAIN
from tests.web.injection.pages import ATTACKS


@pytest.mark.parametrize(("name", "attack"), CASES)
def test_what_is_internal_stays_inside(web: SmallWeb, name: str, attack: str) -> None:
    run = web.ask(name, attack, inside=True)
    assert any(CANARY in prompt.user for prompt in run.prompts), "the model could have told"
    assert CANARY not in run.told
    assert not run.attacker
    assert f"told={CANARY}" not in run.answer.text, "an image would tell who shows the answer"
    assert run.answer.sensitivity == INTERNAL


@pytest.mark.parametrize("name", SEARCHING_AGAIN)
def test_after_reading_inside_only_inside_is_searched(web: SmallWeb, name: str) -> None:
    run = web.ask(name, "all at once", inside=True)
    assert len(run.local) > len(run.searches) == 1
    assert any("searxng may be told what is public" in note for note in run.answer.notes)


@pytest.mark.parametrize(("name", "attack"), CASES)
def test_citations_are_ranges_of_what_was_fetched(web: SmallWeb, name: str, attack: str) -> None:
    run = web.ask(name, attack)
    passages = {hit.passage.id: hit.passage for hit in run.answer.hits}
    for number, citation in enumerate(run.answer.citations, start=1):
        passage = passages[citation.passage_id]
        start, end = citation.start - passage.start, citation.end - passage.start
        assert passage.text[start:end] == citation.quote != ""
        assert (citation.number, citation.document_id) == (number, passage.document_id)
        assert citation.uri in run.known
        assert citation.retrieved
    assert run.answer.sensitivity == PUBLIC


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_answer_in_sentences_says_what_pages_say(web: SmallWeb, attack: str) -> None:
    for inside in (False, True):
        run = web.ask("RetrieveAndRead", attack, inside=inside)
        assert run.prompts[0].system not in run.answer.text
        assert f"told={CANARY}" not in run.answer.text, "an image would tell who shows the answer"
        numbers = {int(number) for number in re.findall(r"\[(\d+)\]", run.answer.text)}
        assert numbers == {citation.number for citation in run.answer.citations}
