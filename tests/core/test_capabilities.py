from typing import Any

import pytest

from rag.core.capabilities import Capability, refuse_unsupported
from rag.core.errors import Unsupported
from rag.core.generation import Prompt, Sampling


@pytest.mark.parametrize(
    ("missing", "call"),
    [
        ("score", {"method": "score"}),
        ("reply_prefix", {"prompts": [Prompt("a"), Prompt("b", reply_prefix="c")]}),
        ("choices", {"sampling": Sampling(choices=("a",))}),
        ("starts_with", {"sampling": Sampling(starts_with=("a",))}),
        ("json_schema", {"sampling": Sampling(json_schema={})}),
        ("logprobs", {"sampling": Sampling(logprobs=0)}),
        ("seed", {"sampling": Sampling(seed=0)}),
    ],
)
def test_what_is_missing_is_refused_with_what_has_it(
    missing: Capability, call: dict[str, Any]
) -> None:
    asked: dict[str, Any] = {"method": "generate", **call}
    everything = {"generate", "score", "choices", "starts_with", "json_schema"} | {
        "logprobs",
        "seed",
        "reply_prefix",
    }
    refuse_unsupported("mine", everything, **asked)
    with pytest.raises(Unsupported, match=f"mine does not support {missing}; .*VLLM") as caught:
        refuse_unsupported("mine", everything - {missing}, **asked)
    assert caught.value.capability == missing
