"""What is printed of an answer: as it is written, and after it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from rag.cli.output import console
from rag.cli.retrieval import location

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rag.core.answers import Answer
    from rag.core.events import Event
    from rag.pipelines.context_encoding import Encoding

_NUMBER = re.compile(r" \[\d+\]")


def print_stream(events: Iterable[Event]) -> Answer:
    """Print the reply as it is written, and the answer where it differs by more than numbers."""
    from rag.core.events import Outcome, TextDelta
    from rag.pipelines import metered

    written = ""
    for event in events:
        if isinstance(event, TextDelta) and event.op.stage in ("read", "final", "answer"):
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


def print_rest(answer: Answer, seconds: float, encoding: Encoding | None) -> None:
    """Print the sources of an answer, what fell short and what it used."""
    from rag.core.sensitivity import named

    out = console()
    if answer.citations:
        out.print("\nSources", style="bold")
    for each in answer.citations:
        out.print(f"[{each.number}] {each.title or each.document_id}")
        when = f", retrieved {each.retrieved}" if each.retrieved else ""
        out.print(f"    {location(each)}{when}")
        out.print(f"    “{' '.join(each.quote.split())}”", style="italic")
    for note in answer.notes:
        out.print(f"note: {note}", style="yellow")
    used = answer.usage
    out.print(
        f"\n{used.input_tokens} tokens read, {used.cached_tokens} of them from caches, "
        f"{used.output_tokens} written, {seconds:.1f} s",
        style="dim",
    )
    if used.fetches:
        label = "" if answer.sensitivity is None else f", answer {named(answer.sensitivity)}"
        out.print(f"searches {used.searches}, pages fetched {used.fetches}{label}", style="dim")
    if encoding:
        out.print(f"contexts: {encoding}", style="dim")
