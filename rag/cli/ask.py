"""`rag ask`: an answer, what it rests on, and what it cost."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.cli.output import console, json_option, print_json
from rag.cli.progress import working
from rag.cli.prompts import prompts_option
from rag.cli.retrieval import (
    collection_argument,
    location,
    make_retriever,
    retriever_option,
    top_k_option,
    where_option,
)
from rag.models.registry import DEFAULT_LLM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rag.core.answers import Answer
    from rag.core.events import Event
    from rag.core.protocols import Retriever
    from rag.pipelines import Pipeline

_NUMBER = re.compile(r" \[\d+\]")


@click.command()
@collection_argument
@click.argument("question")
@retriever_option
@top_k_option
@where_option
@click.option(
    "--llm",
    "llm_name",
    default=DEFAULT_LLM,
    show_default=True,
    help="Model that reads: a name of `rag models`, a path, or a name of the hub.",
)
@click.option("--extractive", is_flag=True, help="Answer with sentences of the passages; no LLM.")
@click.option("--budget-tokens", type=click.IntRange(min=0), help="Input tokens at most.")
@click.option("--budget-seconds", type=click.FloatRange(min=0), help="Seconds at most.")
@prompts_option
@json_option
def ask(
    collection: Path,
    question: str,
    retriever: str,
    top_k: int,
    where: dict[str, Any] | None,
    llm_name: str,
    extractive: bool,
    budget_tokens: int | None,
    budget_seconds: float | None,
    prompt_folder: Path | None,
    as_json: bool,
) -> None:
    """Answer QUESTION from COLLECTION, with citations.

    The answer appears as it is written; its sources, what it used and what fell short come
    after it.
    """
    from rag.core.budgets import Budget
    from rag.indexes import Collection

    budget = Budget(tokens=budget_tokens, seconds=budget_seconds)
    with Collection.open(collection) as opened:
        found = make_retriever(retriever, opened)
        pipeline = _pipeline(found, top_k, llm_name, extractive, prompt_folder)
        if as_json:
            answer = pipeline.answer(question, where=where, budget=budget)
            print_json(answer)
            return
        began = time.perf_counter()
        answer = _print_stream(pipeline.stream(question, where=where, budget=budget))
        _print_rest(answer, time.perf_counter() - began)


def _pipeline(
    retriever: Retriever,
    top_k: int,
    llm_name: str,
    extractive: bool,
    prompt_folder: Path | None,
) -> Pipeline:
    from rag.pipelines import ExtractiveRead, RetrieveAndRead

    if extractive:
        return ExtractiveRead(retriever, top_k=top_k)
    from rag.models.registry import load_llm

    with working(f"loading {llm_name}; its first use takes longer"):
        llm = load_llm(llm_name)
    return RetrieveAndRead(retriever, llm, top_k=top_k, prompts=prompt_folder)


def _print_stream(events: Iterable[Event]) -> Answer:
    """Print the reply as it is written, and the answer where it differs by more than numbers."""
    from rag.core.events import Outcome, TextDelta
    from rag.pipelines import metered

    written = ""
    for event in events:
        if isinstance(event, TextDelta):
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


def _print_rest(answer: Answer, seconds: float) -> None:
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
        f"\n{used.input_tokens} tokens read, {used.output_tokens} written, {seconds:.1f} s",
        style="dim",
    )
