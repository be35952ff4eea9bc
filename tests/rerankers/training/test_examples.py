from collections.abc import Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rag.core.errors import ContextOverflow, ModelError
from rag.models.transformers_llm import TransformersLLM
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.permutation import PermutationRanker
from rag.rerankers.sliding import FullRanking, SlidingWindow
from rag.rerankers.training.examples import Example, _ranks, make_examples
from rag.rerankers.training.recipe import Recipe
from tests.models.conftest import CHAT, byte_tokenizer, sentencepiece_tokenizer
from tests.rerankers.training.conftest import make_list

FOUR = make_list((0, 2, 1, 0))
"""A list whose order is B, C, D, A."""


def fast(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        chat_template=CHAT,
    )


def example(tokenizer: PreTrainedTokenizerFast, **recipe: Any) -> Example:
    (made,) = make_examples([FOUR], Recipe(**recipe), tokenizer, "tiny", 4096)
    return made


@pytest.mark.parametrize(
    ("objective", "ranker"),
    [("first-token", FirstTokenRanker), ("permutation", PermutationRanker)],
)
@pytest.mark.parametrize("strategy", [FullRanking, SlidingWindow])
def test_prompts_are_those_that_the_model_is_given(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, objective: Any, ranker: Any, strategy: Any
) -> None:
    llm = TransformersLLM(tiny, dtype="float32")
    read: list[Sequence[int]] = []
    render = llm._encoder.render

    def spy(prompts: Any) -> list[list[int]]:
        rendered = render(prompts)
        if prompts[0].contexts:
            read.extend(rendered)
        return rendered

    monkeypatch.setattr(llm._encoder, "render", spy)
    strategy(ranker(llm), passage_tokens=12).rerank(FOUR.query, FOUR.hits)
    made = example(AutoTokenizer.from_pretrained(tiny), objective=objective, passage_tokens=12)
    assert read == [list(made.prompt)]


def test_the_reply_is_the_ranking_and_its_end(tiny: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    made = example(tokenizer)
    assert tokenizer.decode(made.prompt).endswith("assistant\n[")
    assert tokenizer.decode(made.reply) == "B] > [C] > [D] > [A]<|im_end|>"
    assert tokenizer.convert_ids_to_tokens(made.identifiers) == ["B", "C", "D", "A"]
    assert made.grades == [2, 1, 0, 0]
    made = example(tokenizer, objective="permutation")
    assert tokenizer.decode(made.reply) == "2] > [3] > [4] > [1]<|im_end|>"
    assert made.identifiers == []


def merging_tokenizer(*merged: str) -> Tokenizer:
    """Read characters, but for some pairs that are one token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<|im_start|>", "<|im_end|>", *letters, *merged]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={word: number for number, word in enumerate(words)},
            merges=[(word[0], word[1:]) for word in merged],
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "begins", "ranks"),
    [
        # B ] _ > _ [ C ] …
        (merging_tokenizer(), "[", [1, 0, 0, 0, 0, 0, 2]),
        # [B ] _ > _ [C ] …
        (merging_tokenizer(*(f"[{letter}" for letter in ascii_uppercase)), "", [1, 0, 0, 0, 0, 2]),
        # B ] _ > _ [ C] …: the first identifier is the token that is read for it all the same.
        (
            merging_tokenizer(*(f"{letter}]" for letter in ascii_uppercase)),
            "[",
            [1, 0, 0, 0, 0, 0, 2],
        ),
        (byte_tokenizer(), "[", None),
        (sentencepiece_tokenizer(), "[", None),
    ],
)
def test_identifiers_are_found_whatever_the_tokens(
    tokenizer: Tokenizer, begins: str, ranks: list[int] | None
) -> None:
    wrapped = fast(tokenizer)
    made = example(wrapped)
    assert made.reply[0] == made.identifiers[0]
    text = wrapped.decode([*made.prompt, *made.reply[:-1]])
    assert text.endswith("[B] > [C] > [D] > [A]")
    assert wrapped.decode(made.prompt).endswith("assistant\n" + begins)
    if ranks:
        assert made.ranks[: len(ranks)] == ranks
    assert len(made.ranks) == len(made.reply)
    for rank, label in enumerate("BCDA", 1):
        tokens = [token for token, each in zip(made.reply, made.ranks, strict=True) if each == rank]
        assert label in wrapped.decode(tokens)
    between = [token for token, each in zip(made.reply, made.ranks, strict=True) if each == 0]
    assert not set(wrapped.decode(between[:-1])) & set("ABCD")


@given(st.permutations(range(1, 13)), st.data())
def test_ranks_of_numbers_in_any_pieces(order: list[int], data: st.DataObject) -> None:
    text = " > ".join(f"[{number}]" for number in order)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(text) - 1))))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    ranks = _ranks(text, pieces)
    position = 0
    for piece, rank in zip(pieces, ranks, strict=True):
        # The identifiers that a piece touches, found by counting brackets.
        inside = [
            text[: place + 1].count("[")
            for place in range(position, position + len(piece))
            if text[place].isdigit()
        ]
        assert rank == max(inside, default=0)
        position += len(piece)


def test_a_tokenizer_that_loses_characters_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot be taught"):
        _ranks("[B] > [A]", ["[b]", " > ", "[a]"])


def test_a_list_that_does_not_fit_is_refused(tiny: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    needed = len(example(tokenizer).prompt) + len(example(tokenizer).reply)
    assert make_examples([FOUR], Recipe(), tokenizer, "tiny", needed)
    with pytest.raises(ContextOverflow, match=f"tiny: {needed} tokens"):
        make_examples([FOUR], Recipe(), tokenizer, "tiny", needed - 1)
