"""Titles and headings, short enough to leave room for text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rag.text.outline import Path
from rag.text.tokens import TokenSpans


class Label(NamedTuple):
    """What stands above a passage.

    Attributes:
        title: The document's title, shortened where needed.
        path: Headings, the outermost left out where needed.
        tokens: Tokens of the two together.
    """

    title: str
    path: Path
    tokens: int = 0

    @property
    def heading(self) -> str:
        """The headings in one line."""
        return " > ".join(self.path)

    @property
    def text(self) -> str:
        """Title and headings in one line, as `Passage.label` has them."""
        return " > ".join(part for part in (self.title, self.heading) if part)


def shorten_labels(
    wanted: Iterable[tuple[str, Path]], most: int, token_spans: TokenSpans
) -> dict[tuple[str, Path], Label]:
    """Shorten titles and headings to a number of tokens.

    Headings go first, from the outermost; then the title is cut, and ends in '…'.

    Args:
        wanted: Pairs of title and headings.
        most: Tokens that a pair may have.
        token_spans: Locates tokens.

    Returns:
        The label of each pair.
    """
    labels = {pair: Label(*pair) for pair in wanted}
    todo = list(labels)
    while todo:
        found = token_spans([labels[pair].text for pair in todo])
        long = []
        for pair, spans in zip(todo, found, strict=True):
            label = labels[pair]._replace(tokens=len(spans) if labels[pair].text else 0)
            if label.tokens > most:
                label = _shorter(label, spans, most)
                long.append(pair)
            labels[pair] = label
        todo = long
    return labels


def _shorter(label: Label, spans: list[tuple[int, int]], most: int) -> Label:
    if label.path:
        return label._replace(path=label.path[1:])
    title = label.title.removesuffix("…")
    # One token is left for the sign. A cut can raise the count: then it is made shorter again.
    keep = min(most, len(spans)) - 1
    end = min(spans[keep - 1][1], len(title) - 1) if keep > 0 else 0
    cut = title[:end].rstrip()
    return label._replace(title=f"{cut}…" if cut else "")
