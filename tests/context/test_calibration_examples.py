import json
from collections import Counter
from pathlib import Path

import pytest

from rag.context.calibration_examples import CALIBRATION_SET, Example, load_examples
from rag.core.errors import InputError
from rag.core.generation import Prompt
from rag.core.templates import load_template

EVALUATED = Path(__file__).parents[1] / "data"


def test_questions_of_both_kinds_come_with_their_passages() -> None:
    examples = load_examples()
    assert Counter((each.kind, len(each.prompt.contexts)) for each in examples) == {
        ("single-hop", 5): 16, ("single-hop", 10): 16, ("multi-hop", 10): 24,
    }  # fmt: skip
    assert len({each.prompt.question for each in examples}) == 56
    assert CALIBRATION_SET.stat().st_size < 300_000


def test_prompts_are_those_of_the_template() -> None:
    read, listwise = load_template("read"), load_template("listwise")
    shipped = load_examples()[0].prompt
    assert shipped.system == read.system
    assert load_examples(read)[0].prompt == shipped
    other = load_examples(listwise)[0].prompt
    assert len(other.contexts) == len(shipped.contexts)
    assert other.system != shipped.system


def test_gold_passages_are_shown_and_hold_the_answer() -> None:
    places = Counter[int]()
    for line in CALIBRATION_SET.read_text("utf-8").splitlines():
        record = json.loads(line)
        ids = [each["id"] for each in record["passages"]]
        assert set(record["gold"]) <= set(ids)
        assert len(ids) == len(set(ids))
        places.update(ids.index(gold) for gold in record["gold"])
        if record["kind"] == "single-hop":
            gold = [each for each in record["passages"] if each["id"] in record["gold"]]
            shown = " ".join(f"{each['title']} {each['text']}" for each in gold).lower()
            assert any(answer.lower() in shown for answer in record["answers"]), record["id"]
    assert len(places) == 10, "BM25 alone does not find them"
    assert places[0] == max(places.values())


def test_no_question_is_one_that_quality_is_evaluated_with() -> None:
    evaluated = {
        json.loads(line)["text"].lower()
        for name in ("nq", "hotpotqa")
        for line in (EVALUATED / name / "queries.jsonl").read_text("utf-8").splitlines()
    }
    used = {
        json.loads(line)["question"].lower()
        for line in CALIBRATION_SET.read_text("utf-8").splitlines()
    }
    assert evaluated
    assert not used & evaluated


@pytest.mark.parametrize("answers", [(), ("",), ("Paris", " ")])
def test_an_example_has_answers(answers: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="'Where\\?' has no accepted answer, or an empty one"):
        Example(Prompt("Where?"), answers, "single-hop")
