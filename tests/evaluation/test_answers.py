import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.documents import Passage
from rag.core.errors import InputError
from rag.core.generation import Prompt
from rag.evaluation.answer_metrics import ANSWER_METRICS, accuracy, exact_match, f1, normalized
from rag.evaluation.answers import evaluate_answers
from rag.evaluation.datasets import Query
from rag.pipelines import RetrieveAndRead
from rag.testing import FixedRetriever, ScriptedLLM


def test_normalisation_is_that_of_squad() -> None:
    assert normalized("  The Eiffel-Tower, a  “big” one!") == "eiffeltower “big” one"
    assert normalized("An apple; the theme") == "apple theme"


def test_values_worked_by_hand() -> None:
    assert exact_match("the Paris!", ["London", "Paris"]) == 1
    assert exact_match("in Paris", ["Paris"]) == 0
    # 1 word in common of 2 and 1: precision 1/2, recall 1.
    assert f1("in Paris", ["London", "Paris"]) == pytest.approx(2 / 3)
    assert f1("", ["Paris"]) == 0
    assert f1("paris paris", ["paris"]) == pytest.approx(2 / 3)
    assert accuracy("It is in Paris, France.", ["Paris"]) == 1
    assert accuracy("It is parisian", ["Paris"]) == 0


words = st.lists(st.sampled_from(["a", "cat", "Dog!", "x", ""]), max_size=5).map(" ".join)


@given(words, st.lists(words, min_size=1, max_size=3))
def test_measures_agree_where_they_must(answer: str, accepted: list[str]) -> None:
    values = {name: metric(answer, accepted) for name, metric in ANSWER_METRICS.items()}
    assert all(0 <= value <= 1 for value in values.values())
    if values["EM"] == 1:
        assert set(values.values()) == {1.0}
    assert f1(accepted[0], accepted) == 1


PASSAGE = Passage("d1:0", "d1", "The capital of France is Paris.", 0, 31)
RETRIEVER = FixedRetriever([PASSAGE])


def test_answers_are_scored_without_their_citations() -> None:
    llm = ScriptedLLM(lambda prompt: "The capital of France is Paris.")
    queries = [
        Query("1", "What is the capital of France?", ("The capital of France is Paris",)),
        Query("2", "Which is the capital of France", ("Rome",)),
        Query("3", "Not scored?"),
    ]
    report = evaluate_answers(queries, RetrieveAndRead(RETRIEVER, llm))
    assert "[1]" in report.answers["1"].text
    assert report.values["EM"] == {"1": 1.0, "2": 0.0}
    assert report.means["accuracy"] == 0.5
    assert report.usage.calls == 2
    assert report.errors == {}


def test_a_question_that_fails_scores_nothing_and_is_named() -> None:
    def reply(prompt: Prompt) -> str:
        if "second" in prompt.question:
            raise InputError("no idea")
        return "The capital of France is Paris."

    queries = [Query("1", "first capital", ("Paris",)), Query("2", "second capital", ("Paris",))]
    report = evaluate_answers(queries, RetrieveAndRead(RETRIEVER, ScriptedLLM(reply)))
    assert set(report.answers) | set(report.errors) == {"1", "2"}
    assert report.values["accuracy"]["2"] == 0
    assert report.errors["2"] == "no idea"


def test_without_accepted_answers_there_is_nothing_to_score() -> None:
    with pytest.raises(InputError, match="accepted answers"):
        evaluate_answers([Query("1", "Why?")], RetrieveAndRead(RETRIEVER, ScriptedLLM([])))
