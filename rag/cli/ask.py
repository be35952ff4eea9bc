"""`rag ask`: an answer, what it rests on, and what it cost."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from rag.cli.answering import print_rest, print_stream
from rag.cli.contexts import contexts_folder, contexts_option, load, store_option
from rag.cli.output import json_option, print_json
from rag.cli.progress import working
from rag.cli.prompts import prompts_option
from rag.cli.reranking import (
    candidates_option,
    make_reranker,
    ranking_llm,
    rerank_option,
    reranker_options,
)
from rag.cli.retrieval import (
    device_option,
    llm_option,
    retriever_option,
    top_k_option,
    where_option,
)
from rag.cli.sources import collection_and_question, open_sources
from rag.cli.web_options import Searching, searching_options

if TYPE_CHECKING:
    from rag.core.budgets import Budget
    from rag.core.protocols import LLM, Retriever
    from rag.pipelines import Pipeline


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[COLLECTION] QUESTION")
@click.option(
    "--web",
    "use_web",
    is_flag=True,
    help="Search the web, too, or alone where no COLLECTION is named.",
)
@click.option(
    "--web-weight",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="What a hit of the web counts, next to 1 for one of COLLECTION.",
)
@click.option(
    "--search",
    "search_mode",
    type=click.Choice(("verbatim", "always", "auto")),
    default="verbatim",
    show_default=True,
    help="With --web: search for the question as it is, for keywords that the model writes "
    "(always), or only if the model says that it needs a search (auto).",
)
@click.option(
    "--extract", is_flag=True, help="With --web: have the model pick the sentences to read first."
)
@retriever_option
@top_k_option
@where_option
@device_option
@llm_option
@rerank_option
@candidates_option
@reranker_options
@click.option("--extractive", is_flag=True, help="Answer with sentences of the passages; no LLM.")
@click.option("--budget-tokens", type=click.IntRange(min=0), help="Input tokens at most.")
@click.option(
    "--budget-seconds",
    type=click.FloatRange(min=0),
    help="Seconds at most, once all models are loaded. After `rag models calibrate` the model "
    "reads no more than it answers in that time; before, only what would begin too late is "
    "refused.",
)
@click.option(
    "--allocation",
    "allocation_file",
    type=click.Path(path_type=Path),
    help="Answer in a few words, with the strategy that this file of `rag budget fit` plans for "
    "the budget, in place of --top-k.",
)
@click.option(
    "--examples",
    "examples_file",
    type=click.Path(path_type=Path),
    help="Worked examples of `rag examples build`, which --allocation may show.",
)
@searching_options
@prompts_option
@contexts_option
@store_option
@json_option
def ask(
    words: tuple[str, ...],
    use_web: bool,
    web_weight: float,
    search_mode: Literal["verbatim", "always", "auto"],
    extract: bool,
    searching: Searching,
    retriever: str,
    top_k: int,
    where: dict[str, Any] | None,
    device: str,
    llm_name: str,
    method: str | None,
    candidates: int,
    options: dict[str, int],
    extractive: bool,
    budget_tokens: int | None,
    budget_seconds: float | None,
    allocation_file: Path | None,
    examples_file: Path | None,
    prompt_folder: Path | None,
    contexts: str,
    store: Path | None,
    as_json: bool,
) -> None:
    """Answer QUESTION from COLLECTION, from the web, or from both, with citations.

    The answer appears as it is written; its sources, what it used and what fell short come
    after it.
    """
    from rag.core.budgets import Budget
    from rag.core.templates import load_template
    from rag.pipelines import (
        ExtractiveRead,
        Extractor,
        RetrieveAndRead,
        SearchAndRead,
        SearchPlanner,
    )
    from rag.pipelines.context_encoding import with_contexts

    collection, question = collection_and_question(words, use_web)
    if (extract or search_mode != "verbatim") and not use_web:
        raise click.UsageError("--extract and --search need --web")
    if extractive and (method or contexts == "parallel"):
        raise click.UsageError("--extractive asks no model; --rerank and --contexts parallel do")
    if allocation_file and (extractive or method or contexts == "parallel"):
        raise click.UsageError(
            "--allocation says how to answer; --extractive, --rerank and "
            "--contexts parallel say otherwise"
        )
    if allocation_file and budget_tokens is None and budget_seconds is None:
        raise click.UsageError("--allocation needs a budget: --budget-tokens or --budget-seconds")
    if examples_file and not allocation_file:
        raise click.UsageError("--examples are for --allocation, which says how many to show")
    if (extractive or allocation_file) and (extract or search_mode != "verbatim"):
        raise click.UsageError(
            "--extract and --search say how the model plans and reads; --extractive and "
            "--allocation say otherwise"
        )
    states = contexts_folder(contexts, store, collection)
    budget = Budget(tokens=budget_tokens, seconds=budget_seconds)
    web = searching if use_web else None
    with open_sources(collection, device, retriever, web, web_weight) as found:
        plain = encoding = reranker = None
        if extractive:
            pipeline: Pipeline = ExtractiveRead(found, top_k=top_k)
        elif allocation_file:
            plain = load(llm_name)
            pipeline = _allocated(
                allocation_file, budget, found, plain, examples_file, prompt_folder
            )
        else:
            plain = load(llm_name)
            template = load_template("read", prompt_folder)
            llm, encoding = with_contexts(plain, contexts, states, template)
            if method:
                # Asking for answers over kept contexts asks for no other ranking.
                mode = "auto" if contexts == "parallel" else contexts
                ranks, _ = ranking_llm(method, plain, mode, states, prompt_folder)
                reranker = make_reranker(method, ranks, prompt_folder, options)
            reading: dict[str, Any] = {
                "top_k": top_k,
                "prompts": prompt_folder,
                "reranker": reranker,
                "candidates": candidates,
            }
            if use_web:
                pipeline = SearchAndRead(
                    found,
                    llm,
                    planner=SearchPlanner(mode=search_mode, prompts=prompt_folder),
                    extractor=Extractor(prompts=prompt_folder) if extract else None,
                    **reading,
                )
            else:
                pipeline = RetrieveAndRead(found, llm, **reading)
        if budget_seconds is not None and not use_web:
            # Loading models, the embedder too, is not part of the time for an answer.
            with working("loading what the search needs"):
                found.search_many([question], top_k, where)
        budget, notes = _in_time(budget, pipeline, plain)
        if as_json:
            answer = pipeline.answer(question, where=where, budget=budget)
            answer = replace(answer, notes=(*notes, *answer.notes))
            print_json(asdict(answer) | {"contexts": encoding})
            return
        began = time.perf_counter()
        answer = print_stream(pipeline.stream(question, where=where, budget=budget))
        seconds = time.perf_counter() - began
        print_rest(replace(answer, notes=(*notes, *answer.notes)), seconds, encoding)


def _allocated(
    file: Path,
    budget: Budget,
    retriever: Retriever,
    llm: LLM,
    examples_file: Path | None,
    prompts: Path | None,
) -> Pipeline:
    from rag.allocation.fitted import FittedAllocation
    from rag.core.worked_examples import read_examples
    from rag.models.calibration import kept_cost_model
    from rag.pipelines import allocate

    return allocate(
        FittedAllocation.load(file),
        budget,
        retriever=retriever,
        llm=llm,
        examples=read_examples(examples_file) if examples_file else (),
        call_times=kept_cost_model(llm),
        prompts=prompts,
    )


def _in_time(budget: Budget, pipeline: Pipeline, llm: LLM | None) -> tuple[Budget, tuple[str, ...]]:
    """Return what the pipeline may use, and what to say of that beforehand."""
    from rag.models.calibration import kept_cost_model
    from rag.pipelines.allocate import as_planned
    from rag.pipelines.in_time import in_time
    from rag.pipelines.strategies import Strategy

    times = kept_cost_model(llm) if llm and budget.seconds is not None else None
    budget, notes = in_time(budget, pipeline, times)
    return budget, (as_planned(pipeline), *notes) if isinstance(pipeline, Strategy) else notes
