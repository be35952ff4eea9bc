"""Programs that read and tell, drawn at random, and what should come of them."""

from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hypothesis import strategies as st

from rag.core.answers import Answer
from rag.core.budgets import Budget
from rag.core.capabilities import Capability
from rag.core.documents import Document, Passage
from rag.core.errors import BatchError, FetchFailed, FlowRefused
from rag.core.generation import Prompt
from rag.core.hits import Hit
from rag.core.operations import Generate, Limited, Note, Restricted, together
from rag.core.search_operations import Fetch, Search, SearchWeb
from rag.core.sensitivity import INTERNAL, PUBLIC, Sensitivity, sensitivity_of
from rag.core.usage import Usage
from rag.core.web import Page, WebQuery, WebResult, WebResults
from rag.testing import FixedRetriever

STATED: dict[str, Any] = {
    "public": "public",
    "internal": "internal",
    "unstated": None,
    "hr": "hr",
    "both": ["hr", "legal"],
}
"""What the metadata of each passage and page say."""

TAGS = {name: sensitivity_of({"sensitivity": stated}) for name, stated in STATED.items()}
EVERYTHING = PUBLIC.union(*TAGS.values())
DISCLOSES = {"world": PUBLIC, "intranet": INTERNAL, "staff": frozenset({"internal", "hr"})}
"""The search engines, and what each may be told."""

leaves = st.one_of(
    st.tuples(st.just("search"), st.sampled_from(sorted(STATED))),
    st.tuples(st.just("web"), st.sampled_from(sorted(DISCLOSES))),
    st.tuples(st.just("fetch"), st.sampled_from([*sorted(STATED), "broken"])),
    st.tuples(st.just("generate")),
    st.tuples(st.just("raise")),
    st.tuples(st.just("note"), st.integers(0, 3)),
)
parts = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("chain"), st.lists(inner, max_size=4)),
        st.tuples(st.just("together"), st.lists(inner, max_size=3)),
        st.tuples(st.just("limited"), inner),
        st.tuples(st.just("within a search"), inner),
        st.tuples(st.just("tolerant"), inner),
        st.tuples(st.just("answer"), inner),
        st.tuples(st.just("restricted"), inner, st.sampled_from(sorted(TAGS))),
    ),
    max_leaves=6,
)
shapes = st.tuples(st.just("chain"), st.lists(parts, min_size=2, max_size=5))
"""Nested chains and parallel branches that read and tell; many tell after they have read."""


@dataclass
class Web:
    """A search engine that remembers what it was told."""

    name: str
    discloses: Sensitivity
    price: float = 1.0
    capabilities: frozenset[Capability] = frozenset()
    told: list[str] = field(default_factory=list)

    def cost(self, query: WebQuery) -> float:
        return self.price

    def search_web(self, queries: Sequence[WebQuery]) -> list[WebResults]:
        self.told.extend(query.text for query in queries)
        found = WebResult("http://127.0.0.1/", "A page", "Public text.", 1, self.name)
        return [WebResults((found,), usage=Usage(searches=1, cost=self.price)) for _ in queries]


class Pages:
    """A fetcher whose pages are as sensitive as their paths say; it remembers all URLs."""

    capabilities: frozenset[Capability] = frozenset({"concurrent"})

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.told: list[str] = []

    def fetch_many(self, urls: Sequence[str]) -> list[Page]:
        self.told.extend(urls)
        pages = [self._page(url) for url in urls]
        if any(isinstance(page, Exception) for page in pages):
            raise BatchError(pages)
        return pages  # type: ignore[return-value]

    def _page(self, url: str) -> Page | FetchFailed:
        name = url.split("/")[3]
        if name == "broken":
            return FetchFailed(url, "unreachable", "nobody is there")
        text = self.secret if TAGS[name] else "Public text."
        return Page(url, Document(url, text, metadata={"sensitivity": STATED[name]}))


class World:
    """All backends; whatever is not public in it says the secret."""

    def __init__(self, secret: str = "the secret") -> None:
        self.engines = {name: Web(name, allowed) for name, allowed in DISCLOSES.items()}
        self.pages = Pages(secret)
        self.retriever = FixedRetriever(
            results={
                name: [_passage(name, secret if TAGS[name] else "Public text.")] for name in STATED
            }
        )

    @property
    def told(self) -> dict[str, Counter[str]]:
        engines = {name: Counter(each.told) for name, each in self.engines.items()}
        return {**engines, "fetcher": Counter(self.pages.told)}


def _passage(name: str, text: str) -> Passage:
    return Passage(name, name, text, 0, len(text), metadata={"sensitivity": STATED[name]})


class WithinASearch:
    """A retriever that is a program."""

    name = "program"

    def __init__(self, program: Any) -> None:
        self._program = program

    def program(self, query: str, top_k: int, where: object = None) -> Any:
        return self._program

    def search_many(self, *_: object) -> list[list[Hit]]:
        raise AssertionError("the engine runs the program")


async def program(shape: Any, world: World, known: str = "") -> Any:
    """Carry out a shape, telling everyone all that is known."""
    match shape:
        case ("search", name):
            return [hit.passage.text for hit in await Search(name)]
        case ("web", name):
            found = await SearchWeb(WebQuery(f"{name} {known}"), world.engines[name])
            return [result.snippet for result in found.results]
        case ("fetch", name):
            return (await Fetch(f"http://127.0.0.1/{name}/{known}", world.pages)).document.text
        case ("generate",):
            return (await Generate(Prompt(f"say {known}"))).text
        case ("raise",):
            raise ValueError(known)
        case ("note", number):
            return await Note(f"note {number}")
        case ("chain", parts):
            values: list[Any] = []
            for part in parts:
                values.append(await program(part, world, f"{known}{values}"))
            return values
        case ("together", parts):
            members: list[Awaitable[Any]] = [program(part, world, known) for part in parts]
            return await together(*members)
        case ("limited", part):
            return await Limited(program(part, world, known), Budget(calls=100))
        case ("restricted", part, name):
            return await Restricted(program(part, world, known), TAGS[name])
        case ("within a search", part):
            return await Search("any", retriever=WithinASearch(program(part, world, known)))
        case ("tolerant", part):
            try:
                return await program(part, world, known)
            except (ValueError, FetchFailed, FlowRefused) as error:
                return f"failed: {error}"
        case ("answer", part):
            return Answer(repr(await program(part, world, known)))
    raise AssertionError(shape)


class Flow(NamedTuple):
    """What has been read after a shape, how it failed if it did, and the answers in its value."""

    read: Sensitivity
    error: type | None = None
    value: Any = None


@dataclass
class Expected:
    """What comes of a shape, worked out without an engine.

    Attributes:
        told: How often each backend is told something.
        notes: All notes.
    """

    told: Counter[str] = field(default_factory=Counter)
    notes: set[str] = field(default_factory=set)

    def flow(self, shape: Any, read: Sensitivity, ceiling: Sensitivity) -> Flow:
        match shape:
            case ("search", name):
                if not TAGS[name] <= ceiling:
                    return Flow(read, value=[])
                return Flow(read | TAGS[name], value=[None])
            case ("web", name):
                return Flow(read, self.tell(name, read, DISCLOSES[name]), [None])
            case ("fetch", name):
                error = self.tell("fetcher", read, PUBLIC)
                if error or name == "broken" or not TAGS[name] <= ceiling:
                    return Flow(read, error or FetchFailed)
                return Flow(read | TAGS[name])
            case ("raise",):
                return Flow(read, ValueError)
            case ("note", number):
                self.notes.add(f"note {number}")
            case ("chain", parts):
                return self.chain(parts, read, ceiling)
            case ("together", parts):
                return self.together([self.member(part, read, ceiling) for part in parts], read)
            case ("limited" | "within a search", part):
                return self.member(part, read, ceiling)
            case ("restricted", part, name):
                return self.member(part, read, ceiling & TAGS[name])
            case ("tolerant", part):
                flow = self.flow(part, read, ceiling)
                return Flow(flow.read, None, None if flow.error else flow.value)
            case ("answer", part):
                return self.flow(part, read, ceiling)._replace(value=Answer(""))
        return Flow(read)

    def member(
        self, part: Any, read: Sensitivity = PUBLIC, ceiling: Sensitivity = EVERYTHING
    ) -> Flow:
        flow = self.flow(part, read, ceiling)
        if isinstance(flow.value, Answer):
            return flow._replace(value=Answer("", sensitivity=flow.read))
        return flow

    def chain(self, parts: Sequence[Any], read: Sensitivity, ceiling: Sensitivity) -> Flow:
        values = []
        for part in parts:
            flow = self.flow(part, read, ceiling)
            read = flow.read
            values.append(flow.value)
            if flow.error:
                return flow
        return Flow(read, None, values)

    def together(self, members: Sequence[Flow], read: Sensitivity) -> Flow:
        errors = [member.error for member in members if member.error]
        read = read.union(*(member.read for member in members))
        return Flow(read, *errors[:1]) if errors else Flow(read, None, tuple(m[2] for m in members))

    def tell(self, backend: str, read: Sensitivity, allowed: Sensitivity) -> type | None:
        if not read <= allowed:
            return FlowRefused
        self.told[backend] += 1
        return None


def answers(value: Any) -> Any:
    """Return a value without all that is not an answer."""
    match value:
        case list():
            return [answers(each) for each in value]
        case tuple():
            return tuple(answers(each) for each in value)
        case Answer():
            return Answer("", sensitivity=value.sensitivity)
    return None
