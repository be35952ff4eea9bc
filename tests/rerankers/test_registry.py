from pathlib import Path

import pytest

from rag.core.errors import InputError, ModelNotFound
from rag.rerankers import METHODS, load_reranker
from tests.rerankers.oracle import OracleLLM, hits_worth, worths_of

NEEDING_AN_LLM = [method for method in METHODS if not method.endswith(":MODEL")]


@pytest.mark.parametrize("method", NEEDING_AN_LLM)
def test_every_method_puts_the_best_first(method: str) -> None:
    reranker = load_reranker(method, OracleLLM())
    assert reranker.name == method
    worths = [value / 4 for value in range(30)]
    assert worths_of(reranker.rerank("q", hits_worth(worths), 2))[:1] in ([7.25], [7.0])


def test_options_go_to_the_class() -> None:
    reranker = load_reranker("sliding-permutation", OracleLLM(), window=6, passage_tokens=50)
    assert (reranker.window, reranker.stride, reranker.passage_tokens) == (6, 3, 50)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("sliding", {}, "no reranker 'sliding'; there are sliding-first-token, sliding-perm"),
        ("cross-encoder", {}, "cross-encoder:MODEL"),
        ("yes-no", {"window": 5}, "yes-no takes no window; it takes prompts, passage_tokens"),
        ("full-first-token", {"passes": 2}, "full-first-token takes no passes; it takes passage_"),
        ("cross-encoder:x", {"window": 2}, "takes no window; it takes no options"),
    ],
)
def test_what_a_method_does_not_take_is_refused(
    method: str, options: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_reranker(method, OracleLLM(), **options)


def test_a_cross_encoder_is_found_by_its_path() -> None:
    with pytest.raises(ModelNotFound, match="no model 'nowhere'"):
        load_reranker("cross-encoder:nowhere")


def test_prompts_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "listwise.toml").write_text('description = "Mine"\nquestion = "Sort {count}"\n')
    llm = OracleLLM()
    load_reranker("full-permutation", llm, prompts=tmp_path).rerank("q", hits_worth([1, 2]))
    assert llm.calls[-1][1][0].question == "Sort 2"
