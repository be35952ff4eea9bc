"""`rag ask`: an answer, what it rests on, and what it cost."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.cli.contexts import Encoding, contexts_folder, contexts_option, load, with_contexts
from rag.cli.encoded_passages import store_option
from rag.cli.output import console, json_option, print_json
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
    collection_argument,
    llm_option,
    location,
    make_retriever,
    retriever_option,
    top_k_option,
    where_option,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rag.core.answers import Answer
    from rag.core.budgets import Budget
    from rag.core.events import Event
    from rag.core.protocols import LLM, Retriever
    from rag.pipelines import Pipeline

_NUMBER = re.compile(r" \[\d+\]")


@click.command()
@collection_argument
@click.argument("question")
@retriever_option
@top_k_option
@where_option
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
@prompts_option
@contexts_option
@store_option
@json_option
def ask(
    collection: Path,
    question: str,
    retriever: str,
    top_k: int,
    where: dict[str, Any] | None,
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
    """Answer QUESTION from COLLECTION, with citations.

    The answer appears as it is written; its sources, what it used and what fell short come
    after it.
    """
    from rag.core.budgets import Budget
    from rag.core.templates import load_template
    from rag.indexes import Collection
    from rag.pipelines import ExtractiveRead, RetrieveAndRead

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
    states = contexts_folder(contexts, store, collection)
    budget = Budget(tokens=budget_tokens, seconds=budget_seconds)
    with Collection.open(collection) as opened:
        found = make_retriever(retriever, opened)
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
            pipeline = RetrieveAndRead(
                found,
                llm,
                top_k=top_k,
                prompts=prompt_folder,
                reranker=reranker,
                candidates=candidates,
            )
        if budget_seconds is not None:
            # Loading models, the embedder too, is not part of the time for an answer.
            with working("loading what the search needs"):
                found.search_many([question], top_k, where)
        budget, notes = _in_time(budget, pipeline, plain)
        notes = (*_planned(pipeline), *notes)
        if as_json:
            answer = pipeline.answer(question, where=where, budget=budget)
            answer = replace(answer, notes=(*notes, *answer.notes))
            print_json(asdict(answer) | {"contexts": encoding})
            return
        began = time.perf_counter()
        answer = _print_stream(pipeline.stream(question, where=where, budget=budget))
        seconds = time.perf_counter() - began
        _print_rest(replace(answer, notes=(*notes, *answer.notes)), seconds, encoding)


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


def _planned(pipeline: Pipeline) -> tuple[str, ...]:
    """Say what was planned for the budget, if anything was."""
    from rag.pipelines.strategies import Strategy

    if not isinstance(pipeline, Strategy):
        return ()
    return (f"planned for the budget: {pipeline.strategy} {pipeline.allocation}",)


def _in_time(budget: Budget, pipeline: Pipeline, llm: LLM | None) -> tuple[Budget, tuple[str, ...]]:
    """Limit the tokens to what the model answers within the seconds, if it was calibrated.

    Contexts that are kept make it faster than that; how many there are is not known before.
    """
    from rag.models.calibration import kept_cost_model
    from rag.models.cost_model import budget_in_tokens
    from rag.pipelines import RetrieveAndRead

    if budget.seconds is None or not isinstance(pipeline, RetrieveAndRead) or not llm:
        return budget, ()
    limited = budget_in_tokens(
        budget,
        output_tokens=pipeline.sampling.max_tokens,
        cost_model=kept_cost_model(llm),
    )
    if limited == budget:
        return budget, ()
    note = f"to be done in {budget.seconds:g} s, the model reads {limited.tokens} tokens at most"
    return limited, (note,)


def _print_stream(events: Iterable[Event]) -> Answer:
    """Print the reply as it is written, and the answer where it differs by more than numbers."""
    from rag.core.events import Outcome, TextDelta
    from rag.pipelines import metered

    written = ""
    for event in events:
        if isinstance(event, TextDelta) and event.op.stage in ("read", "final"):
            written += event.text
            click.echo(event.text, nl=False)
        elif isinstance(event, Outcome):
            answer = metered(event)
    if written:
        click.echo()
    unnumbered = _NUMBER.sub("", answer.text)
    if unnumbered.split() != written.split():
        click.echo(f"\nAnswer: {answer.text}" if written else answer.text)
    return answer


def _print_rest(answer: Answer, seconds: float, encoding: Encoding | None) -> None:
    out = console()
    if answer.citations:
        out.print("\nSources", style="bold")
    for each in answer.citations:
        out.print(f"[{each.number}] {each.title or each.document_id}")
        out.print(f"    {location(each)}")
        out.print(f"    “{' '.join(each.quote.split())}”", style="italic")
    for note in answer.notes:
        out.print(f"note: {note}", style="yellow")
    used = answer.usage
    out.print(
        f"\n{used.input_tokens} tokens read, {used.cached_tokens} of them from caches, "
        f"{used.output_tokens} written, {seconds:.1f} s",
        style="dim",
    )
    if encoding:
        out.print(f"contexts: {encoding}", style="dim")
