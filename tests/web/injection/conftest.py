"""A small web with an engine, and an attacker who listens; and what comes of asking it."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from rag.core.answers import Answer
from rag.core.documents import Document, Passage
from rag.core.generation import Prompt
from rag.retrievers.federated import FederatedRetriever
from rag.retrievers.web import WebRetriever
from rag.testing import FixedRetriever
from rag.testing.loopback_web import LoopbackSearXNG, LoopbackWeb, ServedPage
from rag.web.engines.searxng import SearXNG
from rag.web.fetcher import WebFetcher
from tests.web.injection.obedience import CANARY, PIPELINES, ObedientLLM
from tests.web.injection.pages import ATTACKER, ATTACKS, page

QUESTION = "How many nests has the largest heronry of the grey heron?"
OTHERS = {
    "/storks": "<h1>Storks</h1><p>Storks and herons are both wading birds. A stork flies with its "
    "neck stretched out, a heron does not.</p>",
    "/ponds": "<h1>Garden ponds</h1><p>A grey heron takes fish from garden ponds in the early "
    "morning, when nobody is about.</p>",
}
INSIDE = f"The grey heron project is called {CANARY}. It has a budget for the heronry."
"""A document of our own, which is internal."""


@dataclass(frozen=True)
class Run:
    """A question that was asked.

    Attributes:
        answer: The answer.
        prompts: What the model read.
        searches: What the engine was asked: paths, with their queries.
        fetched: The URLs that sites were asked for, in any order, those of robots.txt left out.
        known: The URLs that the engine knows.
        told: All that anybody was told.
        attacker: What the attacker was asked.
        local: Queries of our own documents.
    """

    answer: Answer
    prompts: list[Prompt]
    searches: list[str]
    fetched: list[str]
    known: set[str]
    told: str
    attacker: list[object]
    local: list[str]


class SmallWeb:
    """Three sites, an engine that knows their pages, and a site that it does not know."""

    def __init__(self, stack: ExitStack) -> None:
        pages = {"/heron": page(), **OTHERS}
        self.sites = [
            stack.enter_context(LoopbackWeb({path: _fresh(body)}, host=f"127.0.0.{number}"))
            for number, (path, body) in enumerate(pages.items(), start=2)
        ]
        self.known = [site.url(path) for site in self.sites for path in site.pages]
        shown = "All about the grey heron, its nests and the heronry."
        documents = [Document(url, f"{shown} {url}") for url in self.known]
        self.engine = stack.enter_context(LoopbackSearXNG(documents))
        self.attacker = stack.enter_context(LoopbackWeb({}, host="127.0.0.66"))
        # The guard would keep anybody from the attacker; here everything else has to.
        fetcher = stack.enter_context(WebFetcher(allow=["127.0.0.0/8"], per_host=32))
        engine = SearXNG(self.engine.url(), per_second=1000)
        self.retriever = WebRetriever([engine], fetcher)
        self._runs: dict[tuple[str, str, bool], Run] = {}

    def ask(self, pipeline: str, attack: str = "", *, inside: bool = False) -> Run:
        """Return what comes of an attack, each made once.

        Args:
            pipeline: Which pipeline is asked.
            attack: The attack; '' for the clean page.
            inside: Whether our own documents are searched, too.
        """
        key = pipeline, attack, inside
        if key not in self._runs:
            self._runs[key] = self._ask(*key)
        return self._runs[key]

    def _ask(self, pipeline: str, attack: str, inside: bool) -> Run:
        body = ATTACKS[attack] if attack else page()
        listened = body.replace(ATTACKER, self.attacker.url())
        self.sites[0].pages = {"/heron": _fresh(listened)}
        servers = (*self.sites, self.engine, self.attacker)
        for server in servers:
            server.requests.clear()
        own = FixedRetriever([Passage("own", "own", INSIDE, 0, len(INSIDE))])
        both = FederatedRetriever({"own": own, "web": self.retriever})
        llm = ObedientLLM()
        answer = PIPELINES[pipeline](both if inside else self.retriever, llm).answer(QUESTION)
        fetched = [site.url(each.path) for site in self.sites for each in site.requests]
        return Run(
            answer,
            llm.prompts,
            [each.path for each in self.engine.requests],
            sorted(url for url in fetched if not url.endswith("/robots.txt")),
            set(self.known),
            repr([server.requests for server in servers]),
            list(self.attacker.requests),
            own.queries,
        )


@pytest.fixture(scope="session")
def web() -> Iterator[SmallWeb]:
    with ExitStack() as stack:
        yield SmallWeb(stack)


def _fresh(body: str) -> ServedPage:
    return ServedPage(body, headers={"Cache-Control": "no-store"})
