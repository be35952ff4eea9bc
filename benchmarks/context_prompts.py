"""One question in prompts that differ in the order of their passages."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.context import ParallelLLM
from rag.core import Hit, Passage, Prompt
from rag.core.templates import load_template
from rag.evaluation import read_dataset

DATA = Path(__file__).parents[1] / "tests" / "data" / "hotpotqa"


@dataclass(frozen=True)
class Asked:
    """Prompts over the same passages.

    Args:
        earlier: Read before.
        same: Another question, the passages in the same order.
        other: That question, in another order.
        third: That question, in yet another order.
    """

    earlier: Prompt
    same: Prompt
    other: Prompt
    third: Prompt


class Prompts:
    """Prompts of the shipped template over passages of HotpotQA.

    Args:
        llm: Whose tokens are counted.
    """

    def __init__(self, llm: ParallelLLM) -> None:
        dataset = read_dataset(DATA)
        self._template = load_template("read")
        self._questions = [query.text for query in dataset.queries]
        self.hits = [
            Hit(Passage(each.id, each.id, each.text, 0, len(each.text), each.title), 0.0)
            for each in dataset.documents()
        ]
        (whole,) = llm._render([self.over(self.hits)])
        self._lengths = [len(context.tokens) for context in whole.contexts]

    def over(self, hits: Sequence[Hit], question: int = 0) -> Prompt:
        """Return a prompt with passages in their order, and a question by its number."""
        return self._template.render(self._questions[question], hits, nearest=False)

    def up_to(self, size: int) -> list[Hit]:
        """Return different passages of at most so many tokens together.

        Args:
            size: The tokens.
        """
        chosen = []
        for hit, length in zip(self.hits, self._lengths, strict=True):
            if length <= size:
                chosen.append(hit)
                size -= length
        return chosen

    def rounds(self, hits: Sequence[Hit], count: int) -> list[Asked]:
        """Return the prompts of some rounds, each with orders of its own."""
        earlier, same = self.over(hits), self.over(hits, 1)
        orders = [self.over(shuffled(hits, number), 1) for number in range(2 * count)]
        return [Asked(earlier, same, *two) for two in zip(orders[::2], orders[1::2], strict=True)]


def shuffled(hits: Sequence[Hit], number: int) -> list[Hit]:
    """Return passages in an order that begins with another one for every number."""
    first = 1 + number % (len(hits) - 1)
    rest = [*hits[:first], *hits[first + 1 :]]
    return [hits[first], *random.Random(number).sample(rest, len(rest))]
