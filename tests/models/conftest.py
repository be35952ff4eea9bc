"""Tiny language models with random weights: real code paths, no waiting."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>"]
CORPUS = [
    "The capital of France is Paris. The tower there is 330 metres tall and weighs 10,100 tonnes.",
    "Answer the question in one sentence. Yes or no? It is not known. London, Berlin, Madrid.",
]


def byte_tokenizer() -> Tokenizer:
    """Byte-level BPE, as GPT-2 and its successors have: every text comes back as it was."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=CONTROL[:3],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    # Some chat models mark such tokens as ordinary ones; they control the model all the same.
    tokenizer.add_tokens([AddedToken(CONTROL[3], special=False, normalized=False)])
    return tokenizer


def sentencepiece_tokenizer() -> Tokenizer:
    """BPE with a space put before every text, as Llama 2 has it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<unk>", *CONTROL[:3], *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


MakeModel = Callable[..., Path]


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """A function that writes a tiny model folder."""

    def make(tokenizer: Tokenizer | None = None, template: str | None = CHAT) -> Path:
        folder = tmp_path_factory.mktemp("tiny")
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer or byte_tokenizer(),
            bos_token="<|im_start|>",
            eos_token="<|im_end|>",
        )
        fast.chat_template = template
        fast.save_pretrained(folder)
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(fast),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            eos_token_id=fast.eos_token_id,
            # Wide enough that the best token stands out from the others.
            initializer_range=0.5,
        )
        model = LlamaForCausalLM(config)
        readable = torch.tensor([fast.decode([token]).isalpha() for token in range(len(fast))])
        # Random bytes are no text: leave them next to no chance against letters.
        model.lm_head.weight.data[~readable] = 0
        model.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny(make_model: MakeModel) -> Path:
    """The folder of a tiny chat model with a window of 512 tokens."""
    return make_model()
