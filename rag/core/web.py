"""What web search engines return, and pages of the web."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rag.core.documents import Document
from rag.core.usage import Usage

TimeRange = Literal["day", "week", "month", "year"]
"""How old a page may be."""

EngineFailure = Literal[
    "blocked", "captcha", "key", "malformed", "offline", "rate_limited", "timeout", "unreachable"
]
"""Why a search engine could not be asked:

- blocked: it refuses to serve this client;
- captcha: it wants a person to prove that they are one;
- key: the API key is missing, wrong or not paid for;
- malformed: it sent something that is not what it should be;
- offline: the network is off limits (RAG_OFFLINE);
- rate_limited: it wants to be asked less often;
- timeout: it did not answer in time;
- unreachable: there is no connection to it, or it failed.
"""

FetchFailure = Literal[
    "address",
    "content_type",
    "offline",
    "redirects",
    "robots",
    "status",
    "timeout",
    "too_large",
    "unreachable",
    "unreadable",
    "url",
]
"""Why a page could not be fetched:

- address: it is on a private, loopback, link-local or otherwise special address, or is more
  sensitive than the program that fetches it may read;
- content_type: it is something that is not read, such as an image;
- offline: the network is off limits (RAG_OFFLINE);
- redirects: it redirects too often, in a circle, or nowhere;
- robots: its site's robots.txt disallows it, or could not be asked for;
- status: the server answered with an error;
- timeout: it did not come in time;
- too_large: it has more bytes than are read;
- unreachable: there is no connection to its server;
- unreadable: it came, and no text could be read from it;
- url: the URL is none that can be fetched.
"""


@dataclass(frozen=True, slots=True)
class WebQuery:
    """What a web search engine is asked.

    Args:
        text: Keywords or a question.
        count: How many results at most.
        time_range: How old pages may be; None for any age.
    """

    text: str
    count: int = 10
    time_range: TimeRange | None = None


@dataclass(frozen=True, slots=True)
class WebResult:
    """A page that a search engine found, as the engine presents it.

    Args:
        url: The page's URL.
        title: Its title, plain text.
        snippet: Some of its text, plain text; '' where the engine gives none.
        rank: Its place in the engine's order, from 1.
        engine: The engine.
        date: When it was published, as the engine states it: 'YYYY-MM-DD', or ''.
    """

    url: str
    title: str
    snippet: str
    rank: int
    engine: str
    date: str = ""


@dataclass(frozen=True, slots=True)
class WebResults:
    """What a search engine answered; no results mean that it found nothing.

    Args:
        results: The results, best first as the engine sees it; URLs are distinct.
        notes: What fell short, one sentence each, such as sources of the engine that are silent.
        usage: What the search used: one search, its price, its retries.
    """

    results: tuple[WebResult, ...]
    notes: tuple[str, ...] = ()
    usage: Usage = Usage(searches=1)


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a page.

    Args:
        url: Where it leads, absolute.
        text: The text that is linked.
    """

    url: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the web, fetched and read.

    Args:
        url: The URL that was asked for.
        document: What the page says. Its `id` and `uri` are the URL that the page was found at in
            the end; its metadata have `sensitivity` 'public', `retrieved` (when it was fetched, or
            last confirmed to be unchanged, in UTC: 'YYYY-MM-DDTHH:MM:SSZ'), `format`, and what the
            page states, such as `date` and `language`.
        links: Its links, in order, each URL once.
        from_cache: Whether nothing but, at most, a confirmation was transferred for it.
        bytes: Bytes of its body.
        retries: Attempts that had failed before.
    """

    url: str
    document: Document
    links: tuple[Link, ...] = ()
    from_cache: bool = False
    bytes: int = 0
    retries: int = 0
