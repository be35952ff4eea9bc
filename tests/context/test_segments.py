from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from rag.context.segments import Context, SegmentedPrompt, segmented, source_of
from rag.core.generation import Prompt
from rag.models.rendering import PromptEncoder
from tests.models.conftest import CHAT, MakeModel, sentencepiece_tokenizer

WITHOUT_SYSTEM = CHAT.replace(
    "{% for",
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{% for",
    1,
)


@pytest.fixture(scope="module", params=["bytes", "sentencepiece", "no system turn", "no template"])
def encoder(request: pytest.FixtureRequest, make_model: MakeModel) -> PromptEncoder:
    tokenizer = sentencepiece_tokenizer() if request.param == "sentencepiece" else None
    template = {"no template": None, "no system turn": WITHOUT_SYSTEM}.get(request.param, CHAT)
    return PromptEncoder(AutoTokenizer.from_pretrained(make_model(tokenizer, template)))


def joined(prompt: SegmentedPrompt) -> list[int]:
    contexts = [token for context in prompt.contexts for token in context.tokens]
    return [*prompt.prefix, *contexts, *prompt.tail]


def rendered(encoder: PromptEncoder, prompt: Prompt, segments: SegmentedPrompt) -> list[int]:
    """Return the sequential prompt, after what stands for a prefix where it would have none."""
    tokens = encoder.render([prompt])[0]
    bare = not encoder.without_system[0] and not prompt.system and segments.contexts
    return [*encoder.empty, *tokens] if bare else tokens


PROMPTS = [
    Prompt("What does it weigh?", "Be brief.", ("The tower is tall.", "Paris is old.")),
    Prompt("What does it weigh?", contexts=("<passage>\nParis.\n</passage>",), reply_prefix="It"),
    Prompt("Why?", "Be brief."),
]


@pytest.mark.parametrize("sequential", [0, 1, 2, 5])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_segments_are_the_tokens_of_the_prompt(
    encoder: PromptEncoder, prompt: Prompt, sequential: int
) -> None:
    (segments,) = segmented(encoder, [prompt], sequential)
    assert joined(segments) == rendered(encoder, prompt, segments)
    assert len(segments) == len(joined(segments))
    assert len(segments.contexts) == max(0, len(prompt.contexts) - sequential)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    question=st.text(max_size=20),
    system=st.text(max_size=20),
    contexts=st.lists(st.text(max_size=20), max_size=4),
)
def test_any_texts_stay_what_they_are(
    encoder: PromptEncoder, question: str, system: str, contexts: list[str]
) -> None:
    prompt = Prompt(question, system, tuple(contexts))
    decode = encoder.backend.decode
    (segments,) = segmented(encoder, [prompt])
    assert decode(joined(segments), skip_special_tokens=False) == decode(
        rendered(encoder, prompt, segments), skip_special_tokens=False
    )


def test_a_context_has_the_same_tokens_in_every_prompt(encoder: PromptEncoder) -> None:
    texts = ("The tower is tall.", "Paris is old.\n", "Paris is old.")
    first, second = segmented(
        encoder, [Prompt("Why?", "Be brief.", texts), Prompt("Where?", "Be brief.", texts[::-1])]
    )
    assert first.contexts == second.contexts[::-1]
    assert [context.source for context in first.contexts] == list(map(source_of, texts))
    assert first.prefix == second.prefix


def test_positions_go_on_after_the_longest_context() -> None:
    bare = SegmentedPrompt((1, 2), (), (3,))
    several = replace(bare, contexts=tuple(Context((5,) * n, "") for n in (2, 7, 4)))
    assert (several.skip, len(several)) == (7, 16)
    assert (bare.skip, bare.own) == (0, (1, 2, 3))
    assert (bare + [4]).own == (1, 2, 3, 4)  # noqa: RUF005 # addition is what is tested


def test_some_tokens_always_come_before_contexts(make_model: MakeModel) -> None:
    encoder = PromptEncoder(AutoTokenizer.from_pretrained(make_model(template=None)))
    (segments,) = segmented(encoder, [Prompt("Why?", contexts=("Paris.",))])
    assert segments.prefix
