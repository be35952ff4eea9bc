"""What an HTML page states about itself."""

from __future__ import annotations

import re
from itertools import chain

from lxml.etree import XPath
from lxml.html import HtmlElement

from rag.core.documents import Scalar

_TITLES = XPath("//title[not(ancestor::svg)] | //h1")
_PUBLISHED = frozenset(
    "article:published_time citation_publication_date date datepublished dc.date dc.date.issued "
    "dcterms.created dcterms.date dcterms.issued parsely-pub-date pubdate".split()
)
_MODIFIED = frozenset("article:modified_time datemodified dcterms.modified og:updated_time".split())
_JSON_LD = XPath("//script[@type='application/ld+json']/text()")
_JSON_DATE = re.compile(r'"(date(?:Published|Modified))"\s*:\s*"([^"]*)"')
_TIMES = XPath("//article//time[@datetime] | //time[@pubdate][@datetime]")
_DATE = re.compile(r"\s*((?:19|20)\d\d)[-/](0[1-9]|1[0-2])[-/](0[1-9]|[12]\d|3[01])(?!\d)")
_LANGUAGE = re.compile(r"[a-zA-Z]{2,8}(?:-[a-zA-Z0-9]{1,8})*")


def title(tree: HtmlElement) -> str:
    """Return a page's title, or else its first heading; '' where it has neither."""
    texts = dict.fromkeys(("title", "h1"), "")
    for element in _TITLES(tree):
        texts[element.tag] = texts[element.tag] or " ".join(element.text_content().split())
    return texts["title"] or texts["h1"]


def facts(tree: HtmlElement) -> dict[str, Scalar | list[Scalar]]:
    """Return the `language` of a page and its `date`, where it states them.

    The date is that of publication or, failing that, of the last change.
    """
    found: dict[str, Scalar | list[Scalar]] = {}
    language = tree.get("lang") or tree.get("xml:lang") or ""
    if _LANGUAGE.fullmatch(language):
        found["language"] = language
    fields = [
        ((field.get("property") or field.get("name") or field.get("itemprop") or "").lower(), value)
        for field in tree.iter("meta")
        if (value := field.get("content"))
    ]
    stated = [match.groups() for script in _JSON_LD(tree) for match in _JSON_DATE.finditer(script)]
    times = (element.get("datetime") for element in _TIMES(tree))
    every = [(name.lower(), value) for name, value in chain(fields, stated)]
    dates = chain(
        (value for name, value in every if name in _PUBLISHED),
        times,
        (value for name, value in every if name in _MODIFIED),
    )
    if date := next(filter(None, map(_DATE.match, dates)), None):
        found["date"] = "-".join(date.groups())
    return found
