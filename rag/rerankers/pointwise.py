"""Pointwise reranking: each passage gets a score of its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rag.core.capabilities import Capability, refuse_unsupported
from rag.core.errors import BudgetExhausted, CallFailed, InputError, Unsupported
from rag.core.generation import NextTokenScores, Prompt
from rag.core.hits import Hit
from rag.core.operations import CountTokens, NextToken, Score, together
from rag.core.protocols import LLM
from rag.core.rankings import Ranking, WindowReport
from rag.core.templates import load_template
from rag.rerankers.base import Reranker, limit, reordered
from rag.rerankers.likelihood import log_sum, mean_logprob
from rag.rerankers.shortening import shortened

# Yes and No in the spellings in which a reply may begin with them.
_SPELLINGS = (("Yes", "No"), ("yes", "no"), (" Yes", " No"), (" yes", " no"))


@dataclass(frozen=True, slots=True)
class PassageScore:
    """The score of one passage.

    Args:
        score: Higher is better; None where there is none.
        report: What came of asking for it.
        cut: Whether the model read the beginning of the passage only.
    """

    score: float | None
    report: WindowReport = WindowReport(1)
    cut: bool = False


class PointwiseReranker(Reranker):
    """Orders passages by scores of their own, asked for side by side; subclasses say how.

    A ranking has a report for each passage, in the order in which the passages came. Those without
    a score - unreadable, failed, or skipped by the budget - follow the others as they came, with
    the lowest score there is. A single passage is scored like any other: its score says something
    by itself.
    """

    async def program(self, query: str, hits: Sequence[Hit], top_k: int | None = None) -> Ranking:
        """Score each passage, sort, account; see `Reranker.program`."""
        wanted = limit(len(hits), top_k)
        if not hits:
            return Ranking(())
        failures: dict[int, CallFailed] = {}

        async def ask(place: int, hit: Hit) -> PassageScore:
            try:
                return await self.score(query, hit)
            except BudgetExhausted as error:
                return PassageScore(None, WindowReport(1, "skipped", reason=str(error)))
            except CallFailed as error:
                failures[place] = error
                return PassageScore(None, WindowReport(1, "failed", reason=str(error)))

        shown, cut = await self._shown(hits)
        answers = await together(*(ask(place, hit) for place, hit in enumerate(shown)))
        reports = tuple(answer.report for answer in answers)
        if failures and all(report.status in ("failed", "skipped") for report in reports):
            raise failures[min(failures)]
        scored = {
            place: answer.score for place, answer in enumerate(answers) if answer.score is not None
        }
        best = sorted(scored, key=lambda place: -scored[place])
        order = [*best, *(place for place in range(len(hits)) if place not in scored)][:wanted]
        lowest = min(scored.values(), default=0.0)
        return Ranking(
            reordered(self.name, hits, order, [scored.get(place, lowest) for place in order]),
            reports,
            complete=all(report.status != "skipped" for report in reports),
            notes=_notes(reports, len(hits) - len(scored), cut + sum(each.cut for each in answers)),
        )

    @abstractmethod
    async def score(self, query: str, hit: Hit) -> PassageScore:
        """Score one passage.

        Args:
            query: What was looked for.
            hit: The passage, as `prepare` left it.
        """

    async def prepare(self, hits: Sequence[Hit]) -> tuple[list[Hit], int]:
        """Do what comes before the first score.

        Args:
            hits: The hits, of which there is at least one.

        Returns:
            The hits as they are to be scored, and how many of them were shortened.
        """
        return list(hits), 0

    async def _shown(self, hits: Sequence[Hit]) -> tuple[list[Hit], int]:
        try:
            return await self.prepare(hits)
        except BudgetExhausted:
            # Counting needs nothing but time, and without time every score is refused as well.
            return list(hits), 0


def _notes(reports: Sequence[WindowReport], unscored: int, cut: int) -> tuple[str, ...]:
    notes = []
    if cut:
        notes.append(f"passages shortened for the model: {cut}")
    if unscored:
        notes.append(f"passages without a score, which follow the others: {unscored}")
    if skipped := [report.reason for report in reports if report.status == "skipped"]:
        notes.append(f"the order is not the method's own: {skipped[0]}")
    return tuple(notes)


class _LanguageModelReranker(PointwiseReranker):
    """Scores passages by prompts of a language model.

    Args:
        llm: The model.
        prompts: A folder whose templates replace the shipped ones.
        passage_tokens: Tokens of a passage that the model reads at most.
    """

    capability: ClassVar[Capability]
    prompt: ClassVar[str]

    def __init__(self, llm: LLM, *, prompts: Path | None = None, passage_tokens: int = 300) -> None:
        if passage_tokens < 1:
            raise InputError(f"passage_tokens is {passage_tokens}; it must be at least 1")
        refuse_unsupported(llm.name, llm.capabilities, self.capability)
        self.llm = llm
        self.template = load_template(self.prompt, prompts)
        self.passage_tokens = passage_tokens

    async def prepare(self, hits: Sequence[Hit]) -> tuple[list[Hit], int]:
        """Shorten the passages; see `PointwiseReranker.prepare`."""
        return await shortened(hits, self.passage_tokens, self.llm)


class YesNo(_LanguageModelReranker):
    """Asks whether a passage is relevant, and scores it by the log-odds of Yes against No.

    No token is generated: one forward pass a passage gives the probabilities of both, each summed
    over those spellings that are one token of the model. What is one is found out once, where the
    backend can tell.

    A server shows the likeliest tokens only. Where one side is not among them, it counts as one
    token as likely as the least likely of those, which no spelling of it exceeds, and the report
    says 'repaired'; where neither is, the passage has no score, and it says 'unreadable'.

    Source: arXiv 2211.09110 for the question; the log-odds are those of arXiv 2003.06713.

    Args:
        llm: The model.
        prompts: A folder whose `yes_no.toml` replaces the shipped prompt.
        passage_tokens: Tokens of a passage that the model reads at most.

    Raises:
        InputError: `passage_tokens` is less than 1.
        Unsupported: The model's backend has no `next_token`; or, from the program, the model has no
            spelling of Yes and No in one token each.
    """

    name = "yes-no"
    capability = "next_token"
    prompt = "yes_no"
    _known_answers: tuple[tuple[str, ...], tuple[str, ...]] | None = None

    async def prepare(self, hits: Sequence[Hit]) -> tuple[list[Hit], int]:
        """Find the spellings, before all passages would; see `PointwiseReranker.prepare`."""
        await self._answers()
        return await super().prepare(hits)

    async def score(self, query: str, hit: Hit) -> PassageScore:
        """Read how likely Yes and No are; see `PointwiseReranker.score`."""
        yes, no = await self._answers()
        prompt = self.template.render(query, [hit])
        scores = await NextToken(prompt, (*yes, *no), self.llm, stage="rerank")
        return _log_odds(scores, yes, no)

    async def _answers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the tokens that mean Yes, and those that mean No."""
        if self._known_answers is None:
            self._known_answers = await _choose_spellings(self.llm)
        return self._known_answers


async def _choose_spellings(llm: LLM) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the spellings of Yes and No that are one token; a pair counts only if both are."""
    pairs = list(_SPELLINGS)
    if {"reply_prefix", "exact_counts"} <= llm.capabilities:
        texts = ["", *(text for pair in pairs for text in pair)]
        empty, *counts = await together(
            *(CountTokens(Prompt("Yes or no?", reply_prefix=text), llm) for text in texts)
        )
        lengths = zip(counts[::2], counts[1::2], strict=True)
        pairs = [
            pair for pair, (yes, no) in zip(pairs, lengths, strict=True) if yes == no == empty + 1
        ]
    if not pairs:
        raise Unsupported(llm.name, "Yes and No as one token each", "use QueryLikelihood")
    return tuple(yes for yes, _ in pairs), tuple(no for _, no in pairs)


def _log_odds(scores: NextTokenScores, yes: Sequence[str], no: Sequence[str]) -> PassageScore:
    shown = [
        [scores.logprobs[token] for token in side if token in scores.logprobs] for side in (yes, no)
    ]
    if not any(shown):
        reason = "neither Yes nor No is among the likeliest tokens, which are all that is shown"
        return PassageScore(None, WindowReport(1, "unreadable", reason=reason))
    for_yes, for_no = (log_sum(side or [scores.missing_at_most]) for side in shown)
    report = WindowReport(1, "ok" if all(shown) else "repaired")
    return PassageScore(for_yes - for_no, report)


class QueryLikelihood(_LanguageModelReranker):
    """Scores a passage by how likely the model finds the query as the question it answers.

    The score is the mean log-probability of the query's tokens after the passage (UPR, arXiv
    2204.07496). The query is the same for all passages, so the sum would order them
    the same; the mean can be compared across queries.

    Args:
        llm: The model.
        prompts: A folder whose `query_likelihood.toml` replaces the shipped prompt.
        passage_tokens: Tokens of a passage that the model reads at most.

    Raises:
        InputError: `passage_tokens` is less than 1.
        Unsupported: The model's backend has no `score`.
    """

    name = "query-likelihood"
    capability = "score"
    prompt = "query_likelihood"

    async def score(self, query: str, hit: Hit) -> PassageScore:
        """Read how likely the query is; see `PointwiseReranker.score`."""
        # The query must not be in the prompt, whatever a template of your own asks for.
        prompt = self.template.render("", [hit])
        return PassageScore(mean_logprob(await Score(prompt, query, self.llm, stage="rerank")))
