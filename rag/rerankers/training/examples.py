"""From lists to the tokens that a model learns from."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from rag.core.capabilities import Capability
from rag.core.engine import Engine
from rag.core.errors import ContextOverflow, ModelError
from rag.core.generation import NextTokenScores, Prompt, Reply, Sampling
from rag.core.operations import Generate, NextToken, Program
from rag.core.protocols import LLM
from rag.core.rankings import Ranking
from rag.core.usage import Prices
from rag.models.rendering import PromptEncoder
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.permutation import PermutationRanker
from rag.rerankers.sliding import FullRanking
from rag.rerankers.training.lists import TrainingList
from rag.rerankers.training.recipe import Recipe

_RANKERS = {each.name: each for each in (FirstTokenRanker, PermutationRanker)}


@dataclass(frozen=True, slots=True)
class Example:
    """A list as tokens.

    Args:
        prompt: What the model reads before it ranks, up to what its reply is made to begin with;
            an array, since those of many lists are kept.
        reply: The ranking, and the token that ends a reply.
        ranks: The rank of the identifier that each token of the reply belongs to, from 1; 0 for
            those between identifiers.
        identifiers: The token that `FirstTokenRanker` reads for each passage, best passage first;
            empty for a `PermutationRanker`.
        grades: What the passages are worth, best first.
    """

    prompt: array[int]
    reply: list[int]
    ranks: list[int]
    identifiers: list[int]
    grades: list[int]


def make_examples(
    lists: Sequence[TrainingList], recipe: Recipe, tokenizer: Any, model: str, window: int
) -> list[Example]:
    """Return lists as tokens, with the prompts that a ranker makes of them.

    Args:
        lists: The lists.
        recipe: Says which ranker, and how much of a passage it shows.
        tokenizer: The model's tokenizer, a fast one of transformers.
        model: The model's name.
        window: Tokens that it reads at most.

    Raises:
        ContextOverflow: A list does not fit the window.
        ModelError: The tokenizer is not a fast one, or cannot be used for rankings.
        Unsupported: It does not have enough identifiers of one token each.
    """
    encoder = PromptEncoder(tokenizer)
    reader = cast(LLM, _Reader(model, window, encoder))
    reranker = FullRanking(_RANKERS[recipe.objective](reader), passage_tokens=recipe.passage_tokens)
    ends = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    examples = []
    for each in lists:
        example = _example(each, _asked(reranker.program(each.query, each.hits)), encoder, ends)
        if (tokens := len(example.prompt) + len(example.reply)) > window:
            raise ContextOverflow(model, tokens, window)
        examples.append(example)
    return examples


def _asked(program: Program[Ranking]) -> NextToken | Generate:
    """Return what a ranker asks its model about a window."""
    (outcome,) = Engine().run_many([program], trace=True)
    outcome.unwrap()
    (op,) = (each.op for each in outcome.trace if isinstance(each.op, NextToken | Generate))
    return op


class _Reader:
    """Stands where the model will stand: counts as it will, and knows no answer.

    What a ranker asks of it, shortened passages and all, is what it will ask of the model.
    """

    capabilities: frozenset[Capability] = frozenset(
        {"generate", "next_token", "reply_prefix", "exact_counts"}
    )
    revision = ""
    prices: Prices | None = None

    def __init__(self, name: str, context_window: int, encoder: PromptEncoder) -> None:
        self.name = name
        self.context_window = context_window
        self._encoder = encoder

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        return [len(ids) for ids in self._encoder.render(prompts)]

    def next_token(self, prompts: Sequence[Prompt], tokens: Sequence[str]) -> list[NextTokenScores]:
        return [NextTokenScores(logprobs=dict.fromkeys(tokens, 0.0))] * len(prompts)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        return [Reply("")] * len(prompts)


def _example(
    training_list: TrainingList,
    asked: NextToken | Generate,
    encoder: PromptEncoder,
    ends: Sequence[int],
) -> Example:
    order = training_list.order
    if isinstance(asked, NextToken):
        tokens = [asked.tokens[place] for place in order]
        labels = [token.removeprefix("[") for token in tokens]
    else:
        tokens = []
        labels = [str(place + 1) for place in order]
    text = " > ".join(f"[{label}]" for label in labels).removeprefix(asked.prompt.reply_prefix)
    # The first identifier is the token that is read for it; a tokenizer might join it with what
    # follows.
    first = (tokens or labels)[0]
    head, tail, *spelled = encoder.encode([first, text.removeprefix(first), *tokens])
    written = [*head, *tail]
    ranks = _ranks(text, [encoder.text_of(token) for token in written])
    return Example(
        prompt=array("i", encoder.render([asked.prompt])[0]),
        reply=[*written, *ends],
        ranks=[*ranks, *(0 for _ in ends)],
        identifiers=[token for (token,) in spelled],
        grades=[training_list.grades[place] for place in order],
    )


def _ranks(text: str, pieces: Sequence[str]) -> list[int]:
    """Return the rank of the identifier that each piece of a ranking has characters of; 0 if none.

    Args:
        text: The ranking, such as '[B] > [A]'.
        pieces: The text of each of its tokens.
    """
    if "".join(pieces) != text:
        raise ModelError(f"the tokenizer reads {text!r} as {pieces}; a ranking cannot be taught")
    of_character = [0] * len(text)
    for rank, identifier in enumerate(re.finditer(r"\w+", text), 1):
        of_character[slice(*identifier.span())] = [rank] * len(identifier[0])
    ranks, start = [], 0
    for piece in pieces:
        end = start + len(piece)
        ranks.append(max(of_character[start:end], default=0))
        start = end
    return ranks
