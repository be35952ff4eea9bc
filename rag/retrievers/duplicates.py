"""Texts that are found in several places."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from urllib.parse import parse_qsl, urlencode, urlsplit

from rag.core.documents import Document, Passage

_RUN = 5
_LONG = 50
_ENOUGH = 0.8
_WORD = re.compile(r"\w+")

_PORTS = {"http": 80, "https": 443}
# Parameters that say who followed which link, and nothing of the page.
_TRACKING = re.compile(
    r"utm_\w+|mtm_\w+|pk_\w+|hsa_\w+|[dgw]?clid|gclsrc|[gw]braid|fbclid|msclkid|twclid|yclid|ysclid"
    r"|igshid|mc_[ce]id|_hsenc|_hsmi|mkt_tok|vero_id|oly_(?:anon|enc)_id|ref_src|srsltid",
    re.IGNORECASE,
)


def url_key(url: str) -> str:
    """Return what the URLs of one page have in common.

    They may differ in http and https, in letters of the host, in the scheme's own port, in a slash
    at the end, in the fragment, in the order of parameters, and in those that track visitors.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return url
    host = parts.hostname or ""
    if port is not None and port != _PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    scheme = "" if parts.scheme in _PORTS else f"{parts.scheme}:"
    said = [
        each
        for each in parse_qsl(parts.query, keep_blank_values=True)
        if not _TRACKING.fullmatch(each[0])
    ]
    query = f"?{urlencode(sorted(said))}" if said else ""
    return f"{scheme}//{host}{parts.path.rstrip('/')}{query}"


def fold_duplicates(
    pages: Sequence[Document], passages: Sequence[Sequence[Passage]]
) -> list[list[Passage]]:
    """Leave out passages whose text a better page has as well.

    A page has a passage if it has all its words in a row, whatever their case and punctuation. It
    has a passage of 50 words or more, too, if it has four fifths of its runs of 5 words and all
    its numbers: what else differs is the furniture of another site. Such containment of shingles
    is that of Broder, 'On the resemblance and containment of documents' (1997).

    Args:
        pages: The pages, best first.
        passages: The passages of each.

    Returns:
        The passages that are left of each page. Where text was left out, the passage that has most
        of it names the URLs of the others in the metadata field `also_at`.
    """
    wholes = [_Text(page.text) for page in pages]
    kept: list[list[tuple[Passage, _Text]]] = []
    also_at: dict[str, dict[str, None]] = {}
    for place, own in enumerate(passages):
        left = []
        for passage in own:
            text = _Text(passage.text)
            if not any(text.is_in(better) for better in wholes[:place]):
                left.append((passage, text))
                continue
            host = max(chain(*kept), key=lambda each: text.shared(each[1]))[0]
            also_at.setdefault(host.id, {})[passage.uri] = None
        kept.append(left)
    return [[_naming(passage, also_at.get(passage.id)) for passage, _ in own] for own in kept]


def _naming(passage: Passage, others: Iterable[str] | None) -> Passage:
    if others is None:
        return passage
    return replace(passage, metadata={**passage.metadata, "also_at": [*others]})


class _Text:
    """A text as it is compared."""

    def __init__(self, text: str) -> None:
        words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
        self._line = f" {' '.join(words)} " if words else ""
        self._long = len(words) >= _LONG
        self._numbers = {word for word in words if any(map(str.isdigit, word))}
        # Hashes, for a page may be long.
        self._runs = {hash((*words[at : at + _RUN],)) for at in range(len(words) - _RUN + 1)}

    def is_in(self, page: _Text) -> bool:
        """Say whether a page has this text."""
        if self._line and self._line in page._line:
            return True
        if not (self._long and self._numbers <= page._numbers):
            return False
        return len(self._runs & page._runs) >= _ENOUGH * len(self._runs)

    def shared(self, other: _Text) -> tuple[bool, int]:
        """Return how much of this text another has, to compare."""
        return self._line in other._line, len(self._runs & other._runs)
