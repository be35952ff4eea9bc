"""A language model that knows how relevant passages are, and rankers that need no model."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from rag.core.documents import Passage
from rag.core.generation import ContinuationScore, NextTokenScores, Prompt
from rag.core.hits import Hit
from rag.core.rankings import WindowReport
from rag.rerankers.windows import WindowOrder, WindowRanker
from rag.testing import EchoLLM

_LABEL = re.compile(r"^\[(\w+)\]")


def worth(text: str) -> float:
    """How relevant a text is: the number in it, or something that depends on its letters."""
    found = re.search(r"worth (-?\d+(?:\.\d+)?)", text)
    return float(found[1]) if found else len({*text}) / 10


class OracleLLM(EchoLLM):
    """Answers like a model that sees the worth of passages; its words are its tokens."""

    def _worths(self, prompt: Prompt) -> dict[str, float]:
        found = {}
        for context in prompt.contexts:
            label = _LABEL.match(context)
            found[label[1] if label else ""] = worth(context[label.end() if label else 0 :])
        return found

    def _text(self, prompt: Prompt) -> str:
        worths = self._worths(prompt)
        ranked = sorted(worths, key=lambda label: -worths[label])
        text = " > ".join(f"[{label}]" for label in ranked)
        return text.removeprefix(prompt.reply_prefix)

    def next_token(self, prompts: Sequence[Prompt], tokens: Sequence[str]) -> list[NextTokenScores]:
        scores = super().next_token(prompts, tokens)
        for prompt, each in zip(prompts, scores, strict=True):
            worths = self._worths(prompt)
            if "" in worths:  # one passage: yes or no?
                likelihood = 1 / (1 + math.exp(-worths[""]))
                worths = {"yes": math.log(likelihood), "no": math.log(1 - likelihood)}
            total = math.log(sum(math.exp(value) for value in worths.values()))
            for token in tokens:
                value = worths.get(token.strip(" [").lower(), worths.get(token.strip(" [")))
                each.logprobs[token] = -99.0 if value is None else value - total  # type: ignore[index]
        return scores

    def score(
        self, prompts: Sequence[Prompt], continuations: Sequence[str]
    ) -> list[ContinuationScore]:
        super().score(prompts, continuations)
        return [
            ContinuationScore(
                (min(0.0, worth(prompt.user) - 100),) * max(1, len(text.split())), input_tokens=10
            )
            for prompt, text in zip(prompts, continuations, strict=True)
        ]


class KeyRanker(WindowRanker):
    """Orders hits by a function of them, and remembers what it was asked; needs no model."""

    name = "key"

    def __init__(self, key: Callable[[Hit], float] | None = None) -> None:
        super().__init__(EchoLLM())
        self.key = key or (lambda hit: -worth(hit.passage.text))
        self.asked: list[list[str]] = []
        self.tops: list[int] = []

    async def rank(self, query: str, hits: Sequence[Hit], top: int) -> WindowOrder:
        self.asked.append([hit.passage.id for hit in hits])
        self.tops.append(top)
        order = sorted(range(len(hits)), key=lambda place: self.key(hits[place]))
        return WindowOrder(tuple(order), WindowReport(len(hits)))


def hits_worth(worths: Sequence[float]) -> list[Hit]:
    """Return a hit of each worth, in that order."""
    hits = []
    for number, value in enumerate(worths):
        text = f"worth {value}"
        hits.append(Hit(Passage(f"p{number}", f"d{number}", text, 0, len(text)), 1 / (number + 1)))
    return hits


def worths_of(ranking: Any) -> list[float]:
    """Return the worth of each hit of a ranking, in order."""
    return [worth(hit.passage.text) for hit in ranking.hits]
