"""Generated permutations: a model writes a window's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rag.core.generation import Prompt, Sampling
from rag.core.hits import Hit
from rag.core.operations import CountTokens, Generate, together
from rag.core.protocols import LLM
from rag.core.rankings import WindowReport
from rag.core.templates import load_template
from rag.rerankers.parsing import parse_order
from rag.rerankers.windows import WindowOrder, WindowRanker

# Tokens for a few words before the ranking, where the model cannot be made to begin with it.
_PREAMBLE = 32


class PermutationRanker(WindowRanker):
    """Has the model write a window's order, such as '[2] > [3] > [1]' (RankGPT).

    Identifiers count in brackets only. Repeated and unknown ones are passed over, omitted passages
    follow the others as they came, and the report counts each. A reply that states no order
    leaves the window as it came and is reported as unreadable; asking again would get the same
    greedy reply. Source: arXiv 2304.09542

    Args:
        llm: The model.
        prompts: A folder whose `listwise.toml` replaces the shipped prompt.
    """

    name = "permutation"

    def __init__(self, llm: LLM, *, prompts: Path | None = None) -> None:
        super().__init__(llm)
        self.template = load_template("listwise", prompts)
        self._begin = "[" if "reply_prefix" in llm.capabilities else ""
        self._lengths: dict[tuple[int, int], int] = {}

    async def rank(self, query: str, hits: Sequence[Hit], top: int) -> WindowOrder:
        """Have the order written; see `WindowRanker.rank`."""
        count = len(hits)
        identifiers = [str(number) for number in range(1, count + 1)]
        prompt = self.template.render(query, hits, nearest=False, identifiers=identifiers, top=top)
        reply = await Generate(
            replace(prompt, reply_prefix=self._begin),
            Sampling(max_tokens=await self._room(count, top)),
            self.llm,
            stage="rerank",
        )
        parsed = parse_order(self._begin + reply.text, identifiers, top)
        if not parsed.order:
            reason = f"the reply states no order: {reply.text[:200]!r}"
            return WindowOrder(
                tuple(range(count)), WindowReport(count, "unreadable", reason=reason)
            )
        rest = [place for place in range(count) if place not in parsed.order]
        omitted = max(0, top - len(parsed.order))
        report = WindowReport(
            count,
            "repaired" if parsed.duplicates or parsed.unknown or omitted else "ok",
            parsed.duplicates,
            parsed.unknown,
            omitted,
        )
        return WindowOrder((*parsed.order, *rest), report)

    async def _room(self, count: int, top: int) -> int:
        """Return the tokens that the longest ranking of `top` identifiers has."""
        if (count, top) not in self._lengths:
            longest = " > ".join(f"[{number}]" for number in range(count - top + 1, count + 1))
            whole, one = await together(
                CountTokens(Prompt(longest), self.llm), CountTokens(Prompt("a"), self.llm)
            )
            self._lengths[count, top] = whole - one + 1 + (0 if self._begin else _PREAMBLE)
        return self._lengths[count, top]
