from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import MistralConfig, MistralForCausalLM

from rag.core.generation import Prompt, Sampling
from rag.models.reading import _common, batches
from rag.models.transformers_llm import TransformersLLM
from rag.testing.llm_conformance import written
from tests.models.conftest import MakeModel

BRIEF = Sampling(max_tokens=4)
LONG = "The capital of France is Paris, and the tower there is 330 metres tall. "


@pytest.fixture(scope="module")
def plain(tiny: Path) -> TransformersLLM:
    """A model that keeps nothing between calls."""
    return TransformersLLM(tiny, dtype="float32", prefix_bytes=0)


@contextmanager
def passes(llm: TransformersLLM) -> Iterator[list[list[int]]]:
    """Record how many tokens each row of each pass of the model reads."""
    lengths: list[list[int]] = []
    read = llm._model.read

    def recorded(rows: Any, *rest: Any) -> Any:
        lengths.append([len(row) for row in rows])
        return read(rows, *rest)

    llm._model.read = recorded  # type: ignore[method-assign]
    try:
        yield lengths
    finally:
        llm._model.read = read  # type: ignore[method-assign]


beginnings = st.sampled_from(["", LONG, LONG * 4, LONG * 4 + "No. " * 30, "Yes. " * 30])
prompts = st.lists(
    st.builds(
        lambda start, question: Prompt(question, contexts=(start,)),
        beginnings,
        st.sampled_from(["Why?", "How tall is it?", "Is it known? " * 5]),
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=st.lists(prompts, min_size=1, max_size=3))
def test_prefixes_change_no_reply_and_no_token_is_computed_twice(
    tiny: Path, plain: TransformersLLM, batches: list[list[Prompt]]
) -> None:
    llm = TransformersLLM(tiny, dtype="float32")
    for batch in batches:
        with passes(llm) as lengths:
            replies = llm.generate(batch, Sampling(max_tokens=1))
        assert written(replies) == written(plain.generate(batch, Sampling(max_tokens=1)))
        computed = sum(reply.input_tokens - reply.cached_tokens for reply in replies)
        assert sum(map(sum, lengths)) == computed
        tails = ["Paris"] * len(batch)
        for mine, other in zip(llm.score(batch, tails), plain.score(batch, tails), strict=True):
            assert mine.token_logprobs == pytest.approx(other.token_logprobs, abs=1e-3)


def test_a_prompt_read_before_is_not_computed_again(tiny: Path) -> None:
    llm = TransformersLLM(tiny, dtype="float32")
    (first,) = llm.generate([Prompt(LONG)], BRIEF)
    (again,) = llm.generate([Prompt(LONG)], BRIEF)
    assert first.cached_tokens == 0
    assert 0 < again.input_tokens - again.cached_tokens <= 32
    assert written([first]) == written([again])
    (scores,) = llm.next_token([Prompt(LONG)], ["A"])
    assert scores.cached_tokens == again.cached_tokens
    assert again.usage.computed_tokens == again.input_tokens - again.cached_tokens


def test_a_reply_is_a_beginning_too(smollm2: TransformersLLM) -> None:
    """A step whose prompt holds the last reply computes neither of them again."""
    question = Prompt("List the first ten prime numbers and say what a prime is.")
    (first,) = smollm2.generate([question], Sampling(max_tokens=48))
    (second,) = smollm2.generate([replace(question, reply_prefix=first.text)], BRIEF)
    assert second.cached_tokens > first.input_tokens


def test_a_common_beginning_is_computed_once(tiny: Path) -> None:
    llm = TransformersLLM(tiny, dtype="float32")
    asked = [Prompt(f"Is it {n}?", contexts=(LONG * 5,)) for n in range(4)]
    first, *others = llm.generate(asked, BRIEF)
    assert first.cached_tokens == 0
    (cached,) = {other.cached_tokens for other in others}
    assert first.input_tokens - 64 < cached < first.input_tokens


def test_samples_read_their_prompt_once(tiny: Path) -> None:
    llm = TransformersLLM(tiny, dtype="float32")
    sampling = Sampling(max_tokens=2, temperature=1.0, n=8)
    with passes(llm) as lengths:
        (reply,) = llm.generate([Prompt(LONG * 5)], sampling)
    assert sum(lengths[0]) + sum(lengths[1]) < reply.input_tokens + 8 * 32
    assert reply.usage.input_tokens == reply.input_tokens


def test_common_beginnings() -> None:
    a, b, c = [1] * 32, [2] * 32, [3] * 32
    found = _common([[*a, *b, *c, 0], [*a, *b, 9], [*a, 7, 7], [*c, 5], [*a, *b, *c, 1], [5] * 40])
    assert found == {0: 96}
    assert _common([[*a, *b, 0], [*a, *b, 1], [*a, *c, 0], [*a, *c, 1]]) == {0: 64, 2: 64}
    # The last token is always read.
    assert _common([[*a], [*a]]) == {}


def test_batches_keep_to_both_budgets() -> None:
    lengths = [5, 30, 10, 1000, 9, 30]
    assert list(batches(lengths, lengths, 10_000, 60)) == [[3], [1, 5], [2, 4, 0]]
    assert list(batches([38] * 3, [30] * 3, 2 * 38, 1000)) == [[0, 1], [2]]
    assert list(batches([190] * 3, [30] * 3, 200, 1000)) == [[0], [1], [2]]
    assert list(batches([], [], 10, 10)) == []


def test_what_a_batch_shares_counts_once() -> None:
    tens = [10] * 4
    shared = [{"a": 50}, {"a": 50}, {"a": 50, "b": 30}, {"c": 60}]
    assert list(batches(tens, tens, 120, 1000, shared)) == [[0, 1, 2], [3]]
    assert list(batches(tens, tens, 100, 1000, shared)) == [[0, 1], [2], [3]]


def test_models_with_a_window_compute_everything(make_model: MakeModel) -> None:
    folder = make_model()
    config = MistralConfig(
        vocab_size=500,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=16,
        max_position_embeddings=512,
        eos_token_id=2,
        initializer_range=0.5,
    )
    torch.manual_seed(0)
    MistralForCausalLM(config).save_pretrained(folder)
    llm = TransformersLLM(folder, dtype="float32")
    asked = [Prompt(LONG), Prompt(LONG * 2), Prompt("Why?")]
    singles = [llm.generate([each], BRIEF)[0] for each in asked]
    assert written(llm.generate(asked, BRIEF)) == written(singles)
    assert {reply.cached_tokens for reply in singles} == {0}
