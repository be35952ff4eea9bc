from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.budgets import Budget
from rag.core.documents import Passage
from rag.core.engine import Engine
from rag.core.generation import Prompt
from rag.core.hits import Hit
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.shortening import shortened
from rag.rerankers.sliding import SlidingWindow
from rag.testing import EchoLLM
from tests.rerankers.oracle import OracleLLM, hits_worth


class LetterLLM(EchoLLM):
    """Counts characters other than spaces, three to a token, and three tokens of a template."""

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        self.calls.append(("generate", tuple(prompts)))
        return [3 + -(-len("".join(prompt.user.split())) // 3) for prompt in prompts]


def shorten(texts: Sequence[str], tokens: int, llm: EchoLLM | None = None) -> tuple[list[Hit], int]:
    hits = [Hit(Passage("p", "d", text, 5, 5 + len(text), title="T"), 1.0) for text in texts]
    return Engine().run(shortened(hits, tokens, llm or LetterLLM()))


def test_long_passages_end_after_the_last_word_that_fits() -> None:
    (short, long), cut = shorten(["abc def", "abc def ghi jkl"], 3)
    assert short.passage.text == "abc def"
    assert long.passage.text.rstrip() == "abc def ghi"
    assert (long.passage.start, long.passage.title) == (5, "T")
    assert cut == 1


def test_texts_without_spaces_are_cut_too() -> None:
    (hit,), cut = shorten(["鷺が水辺に立っている。" * 10], 4)
    assert len(hit.passage.text) == 12
    assert cut == 1


def test_texts_with_fewer_bytes_than_tokens_are_not_counted() -> None:
    llm = LetterLLM()
    assert shorten(["short", "", "also short"], 10, llm)[1] == 0
    assert llm.calls == []


def test_counts_of_all_passages_run_in_batches() -> None:
    llm = LetterLLM()
    shorten([f"{number} " + "word " * 200 for number in range(30)], 20, llm)
    assert len(llm.calls) <= 12
    assert {len(prompts) for _, prompts in llm.calls[1:]} == {30}


@given(st.text(), st.integers(1, 30))
def test_what_remains_is_the_beginning_and_fits(text: str, tokens: int) -> None:
    (hit,), cut = shorten([text], tokens)
    assert text.startswith(hit.passage.text)
    assert hit.passage.end - hit.passage.start == len(hit.passage.text)
    assert -(-len("".join(hit.passage.text.split())) // 3) <= tokens
    assert (hit.passage.text != text) == bool(cut)


@pytest.mark.parametrize("text", ["\ud800" * 50, " " * 50, "a\n" * 50])
def test_odd_texts(text: str) -> None:
    (hit,), _ = shorten([text], 5)
    assert text.startswith(hit.passage.text)


def test_without_time_nothing_is_cut_and_nothing_read() -> None:
    hits = hits_worth(range(3))
    object.__setattr__(hits[0].passage, "text", "long " * 100)
    reranker = SlidingWindow(FirstTokenRanker(OracleLLM()), passage_tokens=5)
    ranking = reranker.rerank("q", hits, budget=Budget(seconds=0))
    assert ranking.statuses == {"skipped": 1}
    assert [hit.passage for hit in ranking.hits] == [hit.passage for hit in hits]
