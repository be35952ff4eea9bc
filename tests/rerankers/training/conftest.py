"""A tiny model that has something to learn."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rag.core.documents import Passage
from rag.core.hits import Hit
from rag.rerankers.training import TrainingList
from tests.models.conftest import CHAT, byte_tokenizer

TEXTS = (
    "The grey heron stands in shallow water and waits for fish.",
    "A linker resolves the symbols of a program.",
    "Herons nest in trees near rivers.",
    "[A] > [B] is what a ranking looks like.",
)


def make_list(grades: tuple[int, ...]) -> TrainingList:
    """Return a list of which the last passage was retrieved first."""
    hits = []
    for place, text in enumerate(TEXTS[: len(grades)]):
        passage = Passage(f"d{place}", f"d{place}", text, 0, len(text), title=f"Title {place}")
        hits.append(Hit(passage, float(place), ranks={"retrieved": len(grades) - place}))
    return TrainingList("how do herons hunt", tuple(hits), grades)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny chat model with random weights."""
    folder = tmp_path_factory.mktemp("tiny")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=byte_tokenizer(), bos_token="<|im_start|>", eos_token="<|im_end|>"
    )
    fast.chat_template = CHAT
    fast.save_pretrained(folder)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(fast),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=2048,
                eos_token_id=fast.eos_token_id,
                initializer_range=0.2,  # so that a few steps can change the logits
            )
        )
    model.save_pretrained(folder)
    return folder
