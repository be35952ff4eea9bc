"""Tiny models of each family, with random weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import PreTrainedTokenizerFast

from tests.models.conftest import CHAT, byte_tokenizer, make_model, tiny

__all__ = ["make_family", "make_model", "tiny"]

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {"head_dim": 16},
    "Mistral": {"sliding_window": None},
    "Gemma": {"head_dim": 16},
}

MakeFamily = Callable[..., Path]


@pytest.fixture(scope="session")
def make_family(tmp_path_factory: pytest.TempPathFactory) -> MakeFamily:
    """A function that writes the folder of a tiny model of a family."""

    def make(family: str, **options: Any) -> Path:
        folder = tmp_path_factory.mktemp(family)
        fast = PreTrainedTokenizerFast(
            tokenizer_object=byte_tokenizer(), bos_token="<|im_start|>", eos_token="<|im_end|>"
        )
        fast.chat_template = CHAT
        fast.save_pretrained(folder)
        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(
            **{
                "vocab_size": len(fast),
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "max_position_embeddings": 512,
                "eos_token_id": fast.eos_token_id,
                "pad_token_id": None,
                "initializer_range": 0.5,
                **FAMILIES.get(family, {}),
                **options,
            }
        )
        getattr(transformers, f"{family}ForCausalLM")(config).save_pretrained(folder)
        return folder

    return make
