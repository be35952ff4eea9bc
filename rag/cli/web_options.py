"""Options of commands that use the web, and what they choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from rag.core.web import TimeRange

if TYPE_CHECKING:
    from rag.core.protocols import Embedder
    from rag.retrievers.web import WebRetriever
    from rag.web import WebFetcher

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Fetching:
    """How pages are fetched.

    Args:
        allow: Private hosts, addresses and networks that may be fetched from.
        ignore_robots: Whether to fetch what robots.txt disallows.
        cache: The file that keeps pages; None for that of the user's cache directory.
    """

    allow: tuple[str, ...]
    ignore_robots: bool
    cache: Path | None

    @contextmanager
    def fetcher(self) -> Iterator[WebFetcher]:
        """Open the fetcher, and close it in the end."""
        from rag.models.cache import cache_dir
        from rag.web import WebFetcher

        with WebFetcher(
            cache=self.cache or cache_dir() / "web.sqlite",
            allow=self.allow,
            respect_robots=not self.ignore_robots,
        ) as opened:
            yield opened


@dataclass(frozen=True, slots=True)
class Searching:
    """How the web is searched.

    Args:
        engines: Names of search engines, as `load_engine` takes them.
        time_range: How old pages may be; None for any age.
        results: Results to ask each engine for.
        pages: Pages to read.
        per_domain: Of these, pages of one registered domain.
        fetching: How they are fetched.
    """

    engines: tuple[str, ...]
    time_range: TimeRange | None
    results: int
    pages: int
    per_domain: int
    fetching: Fetching

    @contextmanager
    def retriever(self, embedder: Embedder | None) -> Iterator[WebRetriever]:
        """Open a retriever, and close its fetcher in the end."""
        from rag.retrievers.web import WebRetriever
        from rag.web import load_engine

        if not self.engines:
            raise click.UsageError(
                "name a search engine: --engine searxng@http://HOST:PORT (your own), brave, "
                "tavily, serper, google or ddgs"
            )
        engines = [load_engine(name) for name in self.engines]
        with self.fetching.fetcher() as fetcher:
            yield WebRetriever(
                engines,
                fetcher,
                embedder,
                results=self.results,
                pages=self.pages,
                per_domain=self.per_domain,
                time_range=self.time_range,
            )


_FETCHING = (
    click.option(
        "--allow",
        multiple=True,
        metavar="HOST",
        help="A host, address or network of your own that may be fetched from though it is "
        "private, such as 10.0.0.0/8. Can be repeated.",
    ),
    click.option("--ignore-robots", is_flag=True, help="Fetch what robots.txt disallows, too."),
    click.option(
        "--web-cache",
        type=click.Path(path_type=Path),
        help="File that keeps pages for as long as they say; by default in the cache directory.",
    ),
)
_SEARCHING = (
    click.option(
        "--engine",
        "engines",
        multiple=True,
        metavar="NAME",
        envvar="RAG_ENGINE",
        help="Search engine: searxng@URL of your own, brave, tavily, serper, google or ddgs; keys "
        "come from the environment. Can be repeated; RAG_ENGINE names the default.",
    ),
    click.option(
        "--time-range", type=click.Choice(get_args(TimeRange)), help="How old pages may be."
    ),
    click.option(
        "--results",
        type=click.IntRange(min=1),
        default=10,
        show_default=True,
        help="Results to ask each engine for.",
    ),
    click.option(
        "--pages",
        type=click.IntRange(min=1),
        default=8,
        show_default=True,
        help="Pages to fetch and read.",
    ),
    click.option(
        "--per-domain",
        type=click.IntRange(min=1),
        default=2,
        show_default=True,
        help="Of these, pages of one registered domain.",
    ),
)


def fetching_options(command: Command) -> Any:
    """Add the options of fetching; the command gets `fetching`."""

    @wraps(command)
    def wrapped(
        *args: Any,
        allow: tuple[str, ...],
        ignore_robots: bool,
        web_cache: Path | None,
        **others: Any,
    ) -> Any:
        return command(*args, fetching=Fetching(allow, ignore_robots, web_cache), **others)

    return _with(_FETCHING, wrapped)


def searching_options(command: Command) -> Any:
    """Add the options of searching and fetching; the command gets `searching`."""

    @wraps(command)
    def wrapped(
        *args: Any,
        engines: tuple[str, ...],
        time_range: TimeRange | None,
        results: int,
        pages: int,
        per_domain: int,
        fetching: Fetching,
        **others: Any,
    ) -> Any:
        searching = Searching(engines, time_range, results, pages, per_domain, fetching)
        return command(*args, searching=searching, **others)

    return _with(_SEARCHING, fetching_options(wrapped))


def _with(options: tuple[Callable[[Any], Any], ...], command: Any) -> Any:
    for option in reversed(options):
        command = option(command)
    return command
