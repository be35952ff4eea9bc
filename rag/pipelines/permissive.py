"""Answers that are no more sensitive than they need to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rag.core.answers import Answer
from rag.core.budgets import Budget
from rag.core.capabilities import refuse_unsupported
from rag.core.engine import Engine
from rag.core.errors import BudgetExhausted, InputError, ModelError, SearchFailed
from rag.core.filters import Where
from rag.core.hits import Hit
from rag.core.operations import Program, Restricted, Score, together
from rag.core.sensitivity import PUBLIC, Sensitivity, named
from rag.core.templates import load_template
from rag.pipelines.base import Pipeline, metered
from rag.pipelines.citations import without_citations
from rag.rerankers.likelihood import mean_logprob


class PermissivePipeline:
    """Runs a pipeline, and again on less sensitive passages only where those do as well.

    An answer is as sensitive as all that the pipeline found, though it may rest on a public page
    alone. So each level is tried, the least sensitive first: if the model finds the answer about as
    likely from the passages that may be read at that level, the pipeline runs anew and reads
    nothing above it. That answer is returned, never the first one under another label: what it may
    tell of is what its own run could read, whatever the comparison is worth
    (permissive information-flow analysis, arXiv 2410.03055). That a level sufficed is all that the
    choice itself tells.

    Args:
        pipeline: The pipeline. Its model needs the capability 'score'.
        levels: The sensitivities to try.
        tolerance: How much less likely the answer may be, in nats a token. The paper leaves it
            open.
        prompts: A folder whose `read.toml` replaces the shipped prompt, which the likelihoods are
            taken with.

    Raises:
        InputError: The pipeline has no model.
        Unsupported: Its model cannot score.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        levels: Sequence[Sensitivity] = (PUBLIC,),
        *,
        tolerance: float = 0.5,
        prompts: Path | None = None,
    ) -> None:
        if pipeline.llm is None:
            raise InputError("without a model nothing says whether fewer passages do as well")
        refuse_unsupported(pipeline.llm.name, pipeline.llm.capabilities, "score")
        self.pipeline = pipeline
        self.levels = sorted(levels, key=lambda level: (len(level), named(level)))
        self.tolerance = tolerance
        self.template = load_template("read", prompts)

    def answer(
        self, question: str, *, where: Where | None = None, budget: Budget | None = None
    ) -> Answer:
        """Answer a question with the lowest sensitivity that does as well.

        Args:
            question: The question.
            where: Metadata filter for every search.
            budget: What the question may use over all its runs. Where it, or an error, ends them
                after the first, that answer stands, and its notes say so.
        """
        engine = Engine(llm=self.pipeline.llm, retriever=self.pipeline.retriever, budget=budget)
        first = metered(engine.run_many([self.pipeline.program(question, where)])[0])
        best, notes = first, first.notes
        try:
            for level in self.levels:
                if first.sensitivity is None or first.sensitivity <= level:
                    break
                if not engine.run(self._does(question, first, level)):
                    continue
                program = Restricted(self.pipeline.program(question, where), level)
                rerun = metered(engine.run_many([program])[0])
                if rerun.supported or not first.supported:
                    best = rerun
                    notes = (*rerun.notes, f"answered anew from what is {named(level)}")
                    break
        except (BudgetExhausted, ModelError, SearchFailed) as error:
            # There is an answer already.
            notes = (*notes, f"less sensitive passages were not tried to the end: {error}")
        stages = tuple(engine.meter.stages.items())
        return replace(best, notes=notes, usage=engine.usage, stages=stages)

    async def _does(self, question: str, answer: Answer, level: Sensitivity) -> bool:
        """Say whether an answer is about as likely from the passages that a level may read."""
        kept = [hit for hit in answer.hits if hit.passage.sensitivity <= level]
        if not kept and answer.supported:
            return False
        text = without_citations(answer.text)
        fewer: float
        whole: float
        fewer, whole = await together(
            self._likelihood(question, kept, text), self._likelihood(question, answer.hits, text)
        )
        return fewer >= whole - self.tolerance

    def _likelihood(self, question: str, hits: Sequence[Hit], text: str) -> Program[float]:
        async def program() -> float:
            prompt = self.template.render(question, hits)
            return mean_logprob(await Score(prompt, text, stage="compare"))

        return program()
