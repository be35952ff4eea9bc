"""Against a running server of vLLM, whose base URL is in RAG_TEST_VLLM, with SmolLM2.

For example: `vllm serve FOLDER --dtype float32 --max-model-len 2048 --enforce-eager`, where FOLDER
is the one that the fixture `smollm2` converts SmolLM2 to.
"""

import os
from collections.abc import Iterator

import httpx2
import pytest

from rag.core.generation import Prompt, Sampling
from rag.core.protocols import LLM
from rag.models.http import OpenAICompatibleLLM
from rag.testing.llm_conformance import LLMConformance

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url() -> str:
    address = os.environ.get("RAG_TEST_VLLM", "")
    if not address:
        pytest.skip("RAG_TEST_VLLM names no server of vLLM")
    return address


@pytest.fixture(scope="module")
def by_messages(url: str) -> Iterator[OpenAICompatibleLLM]:
    with OpenAICompatibleLLM(url) as llm:
        yield llm


@pytest.fixture(scope="module")
def by_tokens(url: str) -> Iterator[OpenAICompatibleLLM]:
    models = httpx2.get(f"{url}/models", trust_env=False).json()
    with OpenAICompatibleLLM(url, tokenizer=models["data"][0]["root"]) as llm:
        yield llm


class TestMessages(LLMConformance):
    @pytest.fixture(autouse=True)
    def _opened(self, by_messages: OpenAICompatibleLLM) -> None:
        self.opened = by_messages

    def make_llm(self) -> LLM:
        return self.opened


class TestTokens(LLMConformance):
    @pytest.fixture(autouse=True)
    def _opened(self, by_tokens: OpenAICompatibleLLM) -> None:
        self.opened = by_tokens

    def make_llm(self) -> LLM:
        return self.opened


def test_messages_and_tokens_are_read_alike(
    by_messages: OpenAICompatibleLLM, by_tokens: OpenAICompatibleLLM
) -> None:
    prompts = [Prompt("Which capital?", system=system) for system in ("", "Be brief.")]
    assert by_messages.count_tokens(prompts) == by_tokens.count_tokens(prompts)
    for one, other in zip(
        by_messages.generate(prompts, Sampling(max_tokens=8)),
        by_tokens.generate(prompts, Sampling(max_tokens=8)),
        strict=True,
    ):
        assert one.text == other.text
    tokens = ["A", "B", "C"]
    (one,), (other,) = (llm.next_token(prompts[:1], tokens) for llm in (by_messages, by_tokens))
    assert one.missing == other.missing == ()
    assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)
