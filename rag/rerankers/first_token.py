"""Single-token reranking: a window's order from one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path

from rag.core.capabilities import refuse_unsupported
from rag.core.errors import Unsupported
from rag.core.generation import NextTokenScores
from rag.core.hits import Hit
from rag.core.operations import NextToken
from rag.core.protocols import LLM
from rag.core.rankings import WindowReport
from rag.core.templates import load_template
from rag.rerankers.identifiers import Identifiers, choose_identifiers
from rag.rerankers.likelihood import log_sum
from rag.rerankers.windows import WindowOrder, WindowRanker


class FirstTokenRanker(WindowRanker):
    """Orders a window by how likely each passage's identifier is as the first one of the ranking.

    No token is generated: one forward pass gives the log-probabilities of all identifiers (FIRST,
    arXiv 2406.15657). Identifiers are letters, and from 27 passages on pairs of
    letters, of which the model's tokenizer keeps each in one token; that is checked once.

    A server shows the likeliest tokens only. Passages whose identifier is not among them follow
    the others as they came and are reported as omitted; if they are more than half of a window,
    `Unsupported` is raised. Where the order matters for one passage only, and where a server cannot
    be given the beginning of the reply, the reply is to be the most relevant passage's identifier.

    Args:
        llm: The model.
        prompts: A folder whose `first_token.toml` and `most_relevant.toml` replace the shipped
            prompts.

    Raises:
        Unsupported: The model's backend has no `next_token`.
    """

    name = "first-token"

    def __init__(self, llm: LLM, *, prompts: Path | None = None) -> None:
        super().__init__(llm)
        refuse_unsupported(llm.name, llm.capabilities, "next_token")
        self._ranking = load_template("first_token", prompts)
        self._best = load_template("most_relevant", prompts)
        self._identifiers: Identifiers | None = None

    async def rank(self, query: str, hits: Sequence[Hit], top: int) -> WindowOrder:
        """Ask for the first token; see `WindowRanker.rank`."""
        identifiers = await self.identifiers(len(hits))
        begun = "reply_prefix" in self.llm.capabilities
        template = self._ranking if begun and top > 1 else self._best
        prompt = template.render(
            query, hits, nearest=False, identifiers=identifiers.labels, top=top
        )
        prompt = replace(prompt, reply_prefix=identifiers.reply_prefix)
        scores = await NextToken(prompt, identifiers.tokens, self.llm, stage="rerank")
        return _order(identifiers, scores, self.llm.name)

    async def identifiers(self, count: int) -> Identifiers:
        """Return the identifiers of so many passages; those that were checked are remembered."""
        if self._identifiers is None or len(self._identifiers.labels) < count:
            self._identifiers = await choose_identifiers(count, self.llm)
        return self._identifiers.first(count)


def _order(identifiers: Identifiers, scores: NextTokenScores, model: str) -> WindowOrder:
    logprobs = [
        log_sum([scores.logprobs[token] for token in spelling if token in scores.logprobs])
        for spelling in identifiers.spellings
    ]
    count, hidden = len(logprobs), logprobs.count(-inf)
    if hidden * 2 > count:
        raise Unsupported(
            model,
            f"log-probabilities of enough identifiers: {count - hidden} of {count} were shown",
            "give a smaller window, or use PermutationRanker",
        )
    order = sorted(range(count), key=lambda place: -logprobs[place])
    report = WindowReport(count, "repaired" if hidden else "ok", omitted=hidden)
    return WindowOrder(tuple(order), report, () if hidden else tuple(logprobs))
