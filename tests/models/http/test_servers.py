from typing import Any

import pytest

from rag.core.errors import ModelNotFound
from rag.core.generation import Sampling
from rag.models.http.requests import Rendered, generation, next_token
from rag.models.http.servers import GenericServer, LlamaCppServer, VLLMServer, recognise

URL = "http://127.0.0.1:8000/v1"
VLLM = {"id": "org/model", "owned_by": "vllm", "max_model_len": 2048}
LLAMA = {"id": "a.gguf", "aliases": ["a"], "owned_by": "llamacpp", "meta": {"n_ctx": 512}}
OTHER = {"id": "gpt", "owned_by": "somebody"}


@pytest.mark.parametrize(
    ("listed", "model", "name", "kind", "window"),
    [
        ([VLLM], None, "org/model", VLLMServer, 2048),
        ([VLLM, {**VLLM, "id": "adapter"}], "adapter", "adapter", VLLMServer, 2048),
        ([LLAMA], None, "a.gguf", LlamaCppServer, 512),
        ([LLAMA], "a", "a", LlamaCppServer, 512),
        ([{**LLAMA, "meta": None}], "a", "a", LlamaCppServer, None),
        ([OTHER], None, "gpt", GenericServer, None),
        ([OTHER, VLLM], "gpt", "gpt", GenericServer, None),
        ([OTHER], "unlisted", "unlisted", GenericServer, None),
        ([], "model", "model", GenericServer, None),
    ],
)
def test_servers_are_recognised(
    listed: list[dict[str, Any]], model: str | None, name: str, kind: type, window: int | None
) -> None:
    found, entry, server = recognise(listed, model, URL)
    assert (found, type(server), server.window(entry)) == (name, kind, window)


@pytest.mark.parametrize(
    ("listed", "model", "reason"),
    [
        ([], None, "no list of models; name one"),
        ([VLLM, OTHER], None, "has org/model, gpt; name one"),
        ([VLLM], "other", "has org/model"),
        ([LLAMA], "other", "has a.gguf"),
    ],
)
def test_models_that_are_not_there(
    listed: list[dict[str, Any]], model: str | None, reason: str
) -> None:
    with pytest.raises(ModelNotFound, match=reason):
        recognise(listed, model, URL)


PROMPT = Rendered({"prompt": [1, 2]}, 2, True)
CHAT = Rendered({"messages": []}, 2, False)


def test_one_request_or_several() -> None:
    sampling = Sampling(temperature=1.0, n=3, seed=7)
    (body,) = generation("m", VLLMServer(), PROMPT, sampling)
    assert (body["n"], body["seed"], body["return_token_ids"]) == (3, 7, True)
    apart = generation("m", VLLMServer(), PROMPT, sampling, apart=True)
    assert [(each["seed"], "n" in each) for each in apart] == [(7, False), (8, False), (9, False)]
    bodies = generation("m", LlamaCppServer(), PROMPT, Sampling(temperature=1.0, n=2, seed=2**32))
    assert [each["seed"] for each in bodies] == [1, 2]  # never the seed that stands for any
    unseeded = generation("m", GenericServer(), CHAT, Sampling(temperature=1.0, n=2))
    assert ["seed" in each for each in unseeded] == [False, False]


def test_choices_need_no_stop_strings() -> None:
    for server in (VLLMServer(), LlamaCppServer()):
        (body,) = generation("m", server, PROMPT, Sampling(choices=("a.", "b"), stop=(".",)))
        assert "stop" not in body
        (body,) = generation("m", server, PROMPT, Sampling(stop=(".",)))
        assert body["stop"] == ["."]


def test_special_characters_stand_for_themselves() -> None:
    text = 'a"\\b\n[(.*)]^$\u200b🙂'
    choices = LlamaCppServer().form(Sampling(choices=(text, "")))
    assert choices["grammar"] == ('root ::= "a\\"\\\\b\\U0000000A[(.*)]^$\\U0000200B🙂" | ""')
    starts = VLLMServer().form(Sampling(starts_with=(text, "So - far:")))
    assert starts["structured_outputs"]["regex"] == (
        '(a"\\\\b\n\\[\\(\\.\\*\\)\\]\\^\\$\u200b🙂|So \\- far:)(.|\\n)*'
    )


def test_next_tokens_are_looked_for_among_the_likeliest() -> None:
    """vLLM could name them, at the price of wrong log-probabilities of others in the batch."""
    asked = next_token("m", VLLMServer(), CHAT)
    assert "logprob_token_ids" not in asked
    assert asked["top_logprobs"] == 20
