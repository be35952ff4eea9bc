"""Options of commands that rerank, the reranker that they choose, and what it came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rag.cli.contexts import load
from rag.cli.exit_codes import ExitCode
from rag.cli.output import print_table
from rag.cli.progress import working
from rag.core.budgets import Budget
from rag.core.templates import load_template

if TYPE_CHECKING:
    from rag.core.protocols import LLM
    from rag.evaluation import RerankReport
    from rag.pipelines.context_encoding import Encoding
    from rag.rerankers import Reranker

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = {
    "--window": "Passages that are put in order at once (sliding, tournament).",
    "--stride": "Passages by which the window moves up (sliding).",
    "--passes": "Times to go over the list, at most (sliding).",
    "--children": "Passages that one is compared with at once (setwise).",
    "--tournaments": "Tournaments whose points are added up (tour-rank).",
    "--passage-tokens": "Tokens of a passage that the model reads, at most.",
}


def _with_method(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    """Refuse an option of rerankers where there is none."""
    if value is not None and ctx.params["method"] is None:
        raise click.UsageError(f"{param.opts[0]} needs --rerank METHOD", ctx)
    return value


def _option(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
    options = ctx.params.setdefault("options", {})
    if _with_method(ctx, param, value) is not None:
        options[param.name] = value


def _limit(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
    budget = ctx.params.get("budget", Budget())
    ctx.params["budget"] = replace(budget, **{str(param.name): _with_method(ctx, param, value)})


method_option = click.option(
    "--method",
    "-m",
    default="sliding-first-token",
    show_default=True,
    is_eager=True,  # before the options that need it
    help="How to rerank: sliding, full, tournament, tour-rank or setwise, followed by -first-token "
    "or -permutation; or yes-no, query-likelihood or cross-encoder:MODEL.",
)
rerank_option = click.option(
    "--rerank",
    "method",
    metavar="METHOD",
    is_eager=True,  # before the options that need it
    help="Rerank what is found; `rag rerank --help` lists the methods.",
)
candidates_option = click.option(
    "--candidates",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Passages to find for the reranker.",
)
depth_option = click.option(
    "--depth",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Documents of each ranking to rerank.",
)
reranked_option = click.option(
    "--top-k",
    type=click.IntRange(min=1),
    callback=_with_method,
    help="Documents that are wanted in order; by default all. Most methods ask less for fewer.",
)


def reranker_options(command: Command) -> Command:
    """Add the options of rerankers; the command gets those that were given, as `options`."""
    for name, text in reversed(_OPTIONS.items()):
        option = click.option(name, type=int, callback=_option, expose_value=False, help=text)
        command = option(command)
    return command


def budget_options(command: Command) -> Command:
    """Add what a query may use; the command gets it as `budget`."""
    for kind, what in (("calls", "Calls of the model"), ("tokens", "Input tokens")):
        option = click.option(
            f"--budget-{kind}",
            kind,
            type=click.IntRange(min=0),
            callback=_limit,
            expose_value=False,
            help=f"{what} for a query, at most.",
        )
        command = option(command)
    return command


def existing_folder(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Refuse a file that could not be written before it takes hours to find that out."""
    if value and not value.parent.is_dir():
        raise click.BadParameter(f"there is no folder '{value.parent}'", ctx, param)
    return value


def make_reranker(
    method: str, llm: LLM | str, prompt_folder: Path | None, options: dict[str, int]
) -> Reranker:
    """Return the reranker of a name, with the options that were given."""
    from rag.rerankers.registry import load_reranker

    with working(f"loading what {method} needs; its first use takes longer"):
        return load_reranker(method, llm, prompts=prompt_folder, **options)


def ranking_llm(
    method: str, llm: LLM | str, contexts: str, folder: Path | None, prompt_folder: Path | None
) -> tuple[LLM | str, Encoding]:
    """Return the model that a reranker asks, and how it reads passages; see `with_contexts`."""
    from rag.pipelines.context_encoding import Encoding, may_be_parallel, with_contexts
    from rag.rerankers.pointwise import QueryLikelihood, YesNo

    if method.startswith("cross-encoder:"):
        if contexts == "parallel":
            raise click.UsageError("cross-encoders read every passage together with the query")
        return llm, Encoding()
    # All other methods number the passages.
    prompts = {each.name: each.prompt for each in (QueryLikelihood, YesNo)}
    template = load_template(prompts[method], prompt_folder) if method in prompts else None
    if not may_be_parallel(contexts, folder, template):
        return llm, Encoding()
    return with_contexts(load(llm) if isinstance(llm, str) else llm, contexts, folder, template)


def account(report: RerankReport, method: str, llm_name: str, encoding: Encoding) -> dict[str, Any]:
    """Return what is said of a reranked run in JSON."""
    return {
        "method": method,
        "llm": None if method.startswith("cross-encoder:") else llm_name,
        "contexts": encoding,
        "queries": len(report.run.rankings),
        "windows": report.statuses,
        "incomplete": report.incomplete,
        "notes": report.notes,
        "errors": report.errors,
        "usage": report.usage,
        "usage_by_query": {query: each.usage for query, each in report.outcomes.items()},
        "seconds": report.seconds,
    }


def print_account(report: RerankReport, encoding: Encoding) -> None:
    """Print what reranking took, and what fell short, below the scores."""
    click.echo()
    queries, used = len(report.run.rankings), report.usage
    totals = {
        **{f"windows {status}": count for status, count in report.statuses.items()},
        "calls": used.calls,
        "tokens read": used.input_tokens,
        "of them from caches": used.cached_tokens,
        "tokens written": used.output_tokens,
        "seconds": round(report.seconds, 1),
    }
    print_table(
        (report.run.name, "all", "a query"),
        (
            ("queries", f"{queries:,}", ""),
            *((name, f"{total:,}", f"{total / queries:,.1f}") for name, total in totals.items()),
        ),
    )
    click.echo(f"contexts: {encoding}")
    for note, count in report.notes.items():
        click.echo(f"{note}: {count} of {queries} queries")


def end_in_part(report: RerankReport) -> None:
    """Name the queries that fell short; if there are any, end with the code that says so."""
    if report.incomplete:
        ids = ", ".join(report.incomplete)
        click.secho(f"not finished within the budget: {ids}", fg="yellow", err=True)
    for query_id, reason in report.errors.items():
        click.secho(f"{query_id} keeps its old ranking: {reason}", fg="red", err=True)
    if report.incomplete or report.errors:
        raise click.exceptions.Exit(ExitCode.PARTIAL)
