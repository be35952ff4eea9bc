"""What the model computes over contexts that were encoded apart."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from rag.context.parallel_llm import ParallelLLM
from rag.context.segments import Context, SegmentedPrompt
from rag.context.settings import ApeSettings
from rag.core.errors import Unsupported
from rag.models.reading import Reading
from rag.models.transformers_llm import TransformersLLM
from tests.context.conftest import FAMILIES, MakeFamily
from tests.context.reference import reference_logits

PREFIX = (5, 9, 300, 17, 4)
CONTEXTS = [(31, 8, 77, 8, 250), (90,) * 3, tuple(range(100, 171)), (66, 41), (12, 13, 14, 15)]
TAIL = (201, 7, 7, 33)


def prompt(contexts: list[tuple[int, ...]], tail: tuple[int, ...] = TAIL) -> SegmentedPrompt:
    return SegmentedPrompt(PREFIX, tuple(Context(each, "") for each in contexts), tail)


def read(llm: ParallelLLM, prompts: list[SegmentedPrompt]) -> list[Reading]:
    with torch.inference_mode():
        found = list(llm._reader.read(prompts, [len(each.tail) for each in prompts]))
    assert all(isinstance(each, Reading) for each in found), found
    return found  # type: ignore[return-value] # just checked


def logits(llm: ParallelLLM, prompts: list[SegmentedPrompt]) -> list[torch.Tensor]:
    """Return the logits after each token of each prompt's tail."""
    found: dict[int, torch.Tensor] = {}
    for reading in read(llm, prompts):
        for row, each in zip(reading.rows, reading.logits, strict=True):
            found[row] = each[-len(prompts[row].tail) :]
    return [found[row] for row in range(len(prompts))]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_context_is_ordinary_attention_in_every_layer(
    make_family: MakeFamily, family: str
) -> None:
    plain = TransformersLLM(make_family(family), dtype="float32", prefix_bytes=0)
    llm = ParallelLLM(plain, ApeSettings())
    (reading,) = read(llm, [prompt(CONTEXTS[2:3])])
    with torch.inference_mode():
        state = plain._model.nothing_read(1)
        tokens = [*PREFIX, *CONTEXTS[2], *TAIL]
        expected = plain._model.read([tokens], state, len(TAIL))
    torch.testing.assert_close(reading.logits, expected, atol=2e-4, rtol=2e-4)
    whole = state.slice(0, 0, len(tokens))
    own = reading.state.slice(0, 0, len(PREFIX) + len(TAIL))
    # (keys or values, layers, heads, tokens, dimension): every layer, prefix and tail.
    torch.testing.assert_close(own[:, :, :, : len(PREFIX)], whole[:, :, :, : len(PREFIX)])
    torch.testing.assert_close(
        own[:, :, :, -len(TAIL) :], whole[:, :, :, -len(TAIL) :], atol=2e-4, rtol=2e-4
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("temperature", "scale"), [(1.0, 1.0), (0.7, 0.8), (1.3, 1.1)])
def test_many_contexts_are_what_the_formula_says(
    make_family: MakeFamily, family: str, temperature: float, scale: float
) -> None:
    folder = make_family(family)
    llm = ParallelLLM(TransformersLLM(folder, dtype="float32"), ApeSettings(temperature, scale))
    slow = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    expected = reference_logits(slow, PREFIX, CONTEXTS, TAIL, temperature, scale)
    (found,) = logits(llm, [prompt(CONTEXTS)])
    torch.testing.assert_close(found.double(), expected, atol=5e-4, rtol=5e-4)


@pytest.fixture(scope="module")
def llm(tiny: Path) -> ParallelLLM:
    return ParallelLLM(TransformersLLM(tiny, dtype="float32"), ApeSettings(0.8, 0.9))


def test_the_order_of_contexts_does_not_matter(llm: ParallelLLM) -> None:
    there, back = logits(llm, [prompt(CONTEXTS)]), logits(llm, [prompt(CONTEXTS[::-1])])
    torch.testing.assert_close(there, back, atol=1e-5, rtol=1e-5)


prompts = st.lists(
    st.builds(
        prompt,
        st.lists(st.sampled_from(CONTEXTS), max_size=6),
        st.sampled_from([TAIL, (9,), tuple(range(40, 80))]),
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batch=prompts)
def test_a_batch_over_overlapping_contexts_gives_what_single_prompts_give(
    llm: ParallelLLM, batch: list[SegmentedPrompt]
) -> None:
    singly = [logits(llm, [each])[0] for each in batch]
    torch.testing.assert_close(logits(llm, batch), singly, atol=1e-4, rtol=1e-4)


def test_a_batch_holds_each_context_once(llm: ParallelLLM) -> None:
    batch = [prompt(CONTEXTS), prompt(CONTEXTS[::-1]), prompt(CONTEXTS[:2])]
    (reading,) = read(llm, batch)
    assert reading.state.contexts
    held = sum(int((group.mask == 0).sum()) for group in reading.state.contexts.groups)
    assert held == sum(map(len, CONTEXTS))


@pytest.mark.parametrize(
    ("family", "options", "reason"),
    [
        ("Mistral", {"sliding_window": 16}, "window"),
        ("Gemma2", {"head_dim": 16}, "window"),
        (
            "Llama",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "dynamic",
        ),
        # Full attention throughout, but scores are capped, which the formula does not know.
        (
            "Gemma2",
            {"head_dim": 16, "layer_types": ["full_attention"] * 3, "attn_logit_softcapping": 0.5},
            "logits differ",
        ),
    ],
)
def test_models_for_which_it_would_be_wrong_are_refused(
    make_family: MakeFamily, family: str, options: dict[str, object], reason: str
) -> None:
    plain = TransformersLLM(make_family(family, **options), dtype="float32")
    with pytest.raises(Unsupported, match=reason):
        ParallelLLM(plain, ApeSettings())
