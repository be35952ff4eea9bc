"""Search on the web."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import replace

from rag.core.documents import Document, Passage
from rag.core.errors import BudgetExhausted, FetchFailed, InputError, SearchFailed
from rag.core.filters import Condition, Where, matches, parse_where
from rag.core.hits import Hit
from rag.core.operations import Note, together
from rag.core.protocols import Embedder, Fetcher, SearchEngine
from rag.core.search_operations import Fetch, SearchWeb
from rag.core.web import TimeRange, WebQuery, WebResult
from rag.retrievers.duplicates import fold_duplicates, url_key
from rag.retrievers.fusion import reciprocal_rank_fusion
from rag.retrievers.mixed_ranking import MixedWeights, at_most, rank_passages, rank_results
from rag.retrievers.program import ProgramRetriever
from rag.retrievers.side_by_side import attempt, search_all
from rag.text.splitting import Splitter

_TOKEN = re.compile(r"\w+|[^\w\s]")


class WebRetriever(ProgramRetriever):
    """Finds passages of web pages that search engines find; nothing is indexed.

    All engines are asked, their results become one list, and the pages whose snippets are most
    relevant are fetched. Their text is split into passages, which are ranked by the passage, its
    page, the snippet and the engines together; see `MixedWeights`. What falls short is noted: an
    engine that fails, pages that cannot be fetched. A page that cannot be fetched is replaced by
    the next result, never by its snippet: that is a text of the engine.

    Args:
        engines: The search engines, at least one.
        fetcher: What fetches pages.
        embedder: What ranks by meaning; None ranks by words alone.
        results: Results to ask of each engine.
        pages: Pages to read at most.
        per_domain: Pages of one registered domain to fetch at most.
        time_range: How old pages may be; None for any age.
        passage_tokens: Longest passage, in tokens of the embedder, which may set a lower limit, or
            in words and punctuation marks where there is none.
        weights: What each signal of relevance counts; None for the defaults.

    Raises:
        InputError: There is no engine, or a number is below 1.
    """

    name = "web"

    def __init__(
        self,
        engines: Sequence[SearchEngine],
        fetcher: Fetcher,
        embedder: Embedder | None = None,
        *,
        results: int = 10,
        pages: int = 8,
        per_domain: int = 2,
        time_range: TimeRange | None = None,
        passage_tokens: int = 256,
        weights: MixedWeights | None = None,
    ) -> None:
        if not engines:
            raise InputError("no search engine is given; give at least one")
        for name, number in (("results", results), ("pages", pages), ("per_domain", per_domain)):
            if number < 1:
                raise InputError(f"{name} is {number}; it must be at least 1")
        self.engines = tuple(engines)
        self.fetcher = fetcher
        self.embedder = embedder
        self.results = results
        self.pages = pages
        self.per_domain = per_domain
        self.time_range = time_range
        self.weights = weights or MixedWeights()
        self._splitter = _splitter(embedder, passage_tokens)

    def within(self, time_range: TimeRange | None) -> WebRetriever:
        """Return a copy that finds pages of some age."""
        other = copy(self)
        other.time_range = time_range
        return other

    async def program(self, query: str, top_k: int, where: Where | None = None) -> list[Hit]:
        """Return at most `top_k` passages, best first; none where the engines find nothing.

        Raises:
            SearchFailed: No engine could be asked, or no page that they found could be read.
            FlowRefused: An engine may not be told what the query was written from.
            BudgetExhausted: The budget did not allow to read one page.
            InputError: The query is longer than the embedder reads.
            MissingExtra: A package that ranking needs is not installed.
        """
        wanted = parse_where(where or {})
        results = await self._results(query) if query.strip() else []
        if not results:
            return []
        ranked = await rank_results(query, results, self.embedder, self.weights)
        read = await self._read(at_most(self.per_domain, ranked), wanted)
        documents = [document for _, document in read]
        passages = fold_duplicates(documents, self._splitter.split(documents))
        pages = [(hit, own) for (hit, _), own in zip(read, passages, strict=True)]
        return (await rank_passages(query, pages, self.embedder, self.weights))[:top_k]

    async def _results(self, query: str) -> list[Hit]:
        """Ask all engines, and return each page once, its snippet as the passage."""
        question = WebQuery(query, self.results, self.time_range)
        searches = [SearchWeb(question, engine) for engine in self.engines]
        rankings = []
        for found in await search_all(self.name, searches):
            if found is None:
                continue
            for note in found.notes:
                await Note(note)
            pages: dict[str, Hit] = {}
            for result in found.results:
                key = url_key(result.url)
                pages.setdefault(key, Hit(self._snippet(key, result), 1 / result.rank))
            rankings.append([*pages.values()])
        return reciprocal_rank_fusion(rankings)

    def _snippet(self, key: str, result: WebResult) -> Passage:
        """Return what the engine shows of a page, as far as the embedder can read it."""
        text = result.snippet.strip() or result.title.strip() or result.url
        shown = Document(result.url, text, result.title, result.url)
        return replace(self._splitter.split([shown])[0][0], id=key)

    async def _read(self, results: Sequence[Hit], wanted: Condition) -> list[tuple[Hit, Document]]:
        """Fetch pages in order until enough are read that match; return each with its result."""
        found: dict[str, tuple[Hit, Document]] = {}
        read, errors, left = 0, list[Exception](), list(results)
        while left and len(found) < self.pages and not _exhausted(errors):
            missing = self.pages - len(found)
            batch, left = left[:missing], left[missing:]
            fetches = [
                attempt(Fetch(hit.passage.uri, self.fetcher), FetchFailed, BudgetExhausted)
                for hit in batch
            ]
            for hit, page in zip(batch, await together(*fetches), strict=True):
                if isinstance(page, Exception):
                    errors.append(page)
                    continue
                read += 1
                if matches(wanted, page.document.metadata):
                    # Several results may lead to one page.
                    found.setdefault(url_key(page.document.uri), (hit, page.document))
        await self._note(errors, read)
        return [*found.values()]

    async def _note(self, errors: Sequence[Exception], read: int) -> None:
        """State which pages could not be fetched; if none could, that is a failed search."""
        failed = [each for each in errors if isinstance(each, FetchFailed)]
        causes = Counter(each.cause for each in failed)
        counts = ", ".join(f"{cause} {count}" for cause, count in sorted(causes.items()))
        exhausted = _exhausted(errors)
        if exhausted and not read:
            raise exhausted
        if failed and not read:
            reason = f"none of {len(failed)} pages could be fetched ({counts}); first: {failed[0]}"
            raise SearchFailed(self.name, reason)
        if failed:
            total = len(failed) + read
            await Note(f"pages that could not be fetched: {len(failed)} of {total} ({counts})")
        if exhausted:
            await Note(f"no more pages were fetched: {exhausted}")


def _exhausted(errors: Sequence[Exception]) -> BudgetExhausted | None:
    return next((each for each in errors if isinstance(each, BudgetExhausted)), None)


def _splitter(embedder: Embedder | None, passage_tokens: int) -> Splitter:
    if embedder is None:
        return Splitter(_word_spans, passage_tokens)
    return Splitter.of_embedder(embedder, passage_tokens)


def _word_spans(texts: Sequence[str]) -> list[list[tuple[int, int]]]:
    return [[match.span() for match in _TOKEN.finditer(text)] for text in texts]
