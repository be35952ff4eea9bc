"""The ways to answer that the service offers, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rag.allocation.fitted import FittedAllocation
from rag.core.allocations import Allocation
from rag.core.budgets import Budget
from rag.core.errors import InputError
from rag.core.generation import Sampling
from rag.core.templates import load_template, templates
from rag.core.worked_examples import read_examples
from rag.models.calibration import kept_cost_model
from rag.pipelines import (
    ExamplePool,
    ExtractiveRead,
    Pipeline,
    RetrieveAndRead,
    SearchAndRead,
    SearchPlanner,
    allocate,
    make_pipeline,
)
from rag.pipelines.allocate import usable_cells
from rag.pipelines.strategies import why_not
from rag.rerankers import load_reranker
from rag.service.answer_schemas import PipelineReply
from rag.service.errors import ApiError
from rag.service.settings import PipelineSettings, Settings

if TYPE_CHECKING:
    from rag.core.protocols import LLM, Retriever
    from rag.rerankers import Reranker

_DESCRIPTIONS = {
    "read": "The model reads what a search finds, in one call; what it says is checked.",
    "extractive": "Sentences of the documents, picked without a language model.",
    "planned": "The strategy that a budget is best spent on, as measured; answers in a few words.",
}


class Pipelines:
    """Makes pipelines, cheaply, for each question anew.

    Without a language model there is only 'extractive', and it is the default.

    Args:
        settings: How the service is run.
        llm: The language model; None for none.

    Attributes:
        default: The pipeline of questions that name none.
        own: Those of the settings, by name.
        fitted: What 'planned' goes by; None where it is not offered.
        cells: Strategies and allocations that it chooses from.
        template: What shows passages to a model that reads once.
        cost_model: What calls of the model take; None where that was not measured.

    Raises:
        InputError: Settings name something that is not there.
    """

    def __init__(self, settings: Settings, llm: LLM | None) -> None:
        answers = settings.answers
        self._answers = answers
        self._llm = llm
        self.own = dict(settings.pipelines) if llm else {}
        self.cost_model = kept_cost_model(llm) if llm else None
        self._examples = ExamplePool(read_examples(answers.examples) if answers.examples else ())
        self.fitted = FittedAllocation.load(answers.allocation) if answers.allocation else None
        self.cells = usable_cells(self.fitted, self._examples.examples) if self.fitted else []
        self._check_prompts()
        self.template = load_template("read", answers.prompts)
        self._rerankers = {name: self._checked(name, each) for name, each in self.own.items()}
        self._descriptions = {
            name: text
            for name, text in _DESCRIPTIONS.items()
            if name == "extractive" or (llm and (name != "planned" or self.fitted))
        }
        self._descriptions |= {name: _described(each) for name, each in self.own.items()}
        self.default = answers.pipeline if llm else "extractive"
        if self.default not in self._descriptions:
            raise InputError(
                f"settings: answers.pipeline: there is no '{self.default}', but "
                f"{', '.join(self._descriptions)}"
                + ("; 'planned' needs answers.allocation" if self.default == "planned" else "")
            )

    def replies(self) -> tuple[PipelineReply, ...]:
        """Return the pipelines, as the API tells them."""
        return tuple(
            PipelineReply(name=name, description=text, default=name == self.default)
            for name, text in self._descriptions.items()
        )

    def named(self, name: str | None) -> str:
        """Return the name of a pipeline, that of the default for None.

        Raises:
            ApiError: There is no such pipeline.
        """
        if name is None or name in self._descriptions:
            return name or self.default
        there = ", ".join(self._descriptions)
        raise ApiError(
            422, "unknown_pipeline", f"no pipeline '{name}'; there are {there}", param="pipeline"
        )

    def make(
        self,
        name: str,
        retriever: Retriever,
        *,
        web: bool,
        budget: Budget,
        top_k: int | None,
        max_tokens: int | None,
    ) -> Pipeline:
        """Return a pipeline.

        Args:
            name: Its name, as `named` returns it.
            retriever: Where it looks.
            web: Whether the web is among that.
            budget: What it may use, for 'planned'; the pipeline's `budget` is made from it.
            top_k: Passages to read, for all but 'planned'; None for as many as settings say.
            max_tokens: Tokens of a reply, for pipelines that read once; settings may say fewer.

        Raises:
            BudgetTooSmall: Nothing that can be planned fits the budget.
            InputError: A limit of the budget cannot be checked.
        """
        documents = self.documents(name, top_k)
        own = self.own.get(name)
        if self._llm is None or name == "extractive":
            return ExtractiveRead(retriever, top_k=documents)
        if name == "planned" and self.fitted:
            return allocate(
                self.fitted,
                budget,
                retriever=retriever,
                llm=self._llm,
                examples=self._examples,
                call_times=self.cost_model,
                prompts=self._answers.prompts,
            )
        if own and own.strategy != "read":
            return make_pipeline(
                own.strategy,
                _allocation(own, documents),
                retriever,
                self._llm,
                examples=self._examples,
                prompts=self._answers.prompts,
            )
        reading: dict[str, Any] = {
            "top_k": documents,
            "sampling": Sampling(max_tokens=self._most(max_tokens)),
            "prompts": self._answers.prompts,
            "reranker": self._rerankers.get(name),
            "candidates": own.candidates if own else 0,
        }
        if not web:
            return RetrieveAndRead(retriever, self._llm, **reading)
        planner = SearchPlanner(mode="verbatim", prompts=self._answers.prompts)
        return SearchAndRead(retriever, self._llm, planner=planner, **reading)

    def reads_once(self, name: str) -> bool:
        """Return whether a pipeline is one call that reads passages."""
        return name == "read" or (name in self.own and self.own[name].strategy == "read")

    def documents(self, name: str, top_k: int | None) -> int:
        """Return how many passages a pipeline reads that no plan decides on."""
        own = self.own.get(name)
        return top_k or (own.documents if own else self._answers.top_k)

    def _most(self, max_tokens: int | None) -> int:
        return min(max_tokens or self._answers.max_tokens, self._answers.max_tokens)

    def _check_prompts(self) -> None:
        folder = self._answers.prompts
        if folder is not None and not folder.is_dir():
            raise InputError(f"settings: answers.prompts: there is no folder {folder}")
        for _ in templates(folder):  # a malformed one is an error
            pass

    def _checked(self, name: str, own: PipelineSettings) -> Reranker | None:
        """Return the reranker of a pipeline of the settings, if it has one."""
        where = f"settings: pipelines.{name}"
        if name in _DESCRIPTIONS:
            raise InputError(f"{where}: the name is taken; choose another")
        if own.strategy == "read":
            if own.rerank is None or self._llm is None:
                return None
            return load_reranker(own.rerank, self._llm, prompts=self._answers.prompts)
        if own.rerank:
            raise InputError(f"{where}: only the strategy 'read' has a reranker")
        allocation = _allocation(own, own.documents)
        if reason := why_not(own.strategy, allocation, self._examples.examples):
            raise InputError(f"{where}: {own.strategy} {allocation}: {reason}")
        return None


def _allocation(own: PipelineSettings, documents: int) -> Allocation:
    return Allocation(documents, own.examples, own.steps)


def _described(own: PipelineSettings) -> str:
    if own.strategy != "read":
        return f"{own.strategy} with {_allocation(own, own.documents)}; answers in a few words."
    if own.rerank:
        return f"As read, with the best {own.documents} of {own.candidates} by {own.rerank}."
    return f"As read, with {own.documents} passages."
