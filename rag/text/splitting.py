"""Documents to passages that fit an embedder, none of their text lost or truncated."""

from __future__ import annotations

from collections.abc import Sequence

from rag.core.documents import Document, Passage
from rag.core.errors import InputError
from rag.core.protocols import Embedder
from rag.text.labels import Label, shorten_labels
from rag.text.outline import outline
from rag.text.packing import Packer
from rag.text.tokens import TokenSpans, tokenize

_MARKDOWN = ("markdown", "html", "docx")
_SMALLEST = 16


class Splitter:
    """Splits documents into passages, counting in the embedder's tokens.

    A passage ends at a heading where it can, else between paragraphs, sentences, words, and
    within a word only if the word alone is too long. Code and tables stay whole if they fit.
    Short sections under one heading share a passage.

    Args:
        token_spans: Locates tokens; `Embedder.token_spans`.
        max_tokens: Longest text that the embedder reads, `special_tokens` included.
        overlap: Most tokens that a passage repeats of the one before it in the same section,
            whole sentences where possible; by default a sixteenth of `max_tokens`. A rest of a
            section that is shorter than a quarter of a passage repeats up to a quarter.
        special_tokens: Tokens that the embedder adds to each text, those of its passage prefix
            included.

    Raises:
        InputError: The sizes leave no room for text.
    """

    def __init__(
        self,
        token_spans: TokenSpans,
        max_tokens: int,
        overlap: int | None = None,
        special_tokens: int = 0,
    ) -> None:
        self._token_spans = token_spans
        self._limit = max_tokens - special_tokens
        self._overlap = self._limit // 16 if overlap is None else overlap
        if self._limit < _SMALLEST:
            raise InputError(
                f"max_tokens={max_tokens} leaves {self._limit} tokens for text; "
                f"give at least {_SMALLEST + special_tokens}"
            )
        if not 0 <= self._overlap <= self._limit // 2:
            raise InputError(
                f"overlap={self._overlap} is not between 0 and {self._limit // 2}, half a passage"
            )

    @classmethod
    def of_embedder(
        cls, embedder: Embedder, max_tokens: int | None = None, overlap: int | None = None
    ) -> Splitter:
        """Return the splitter of passages for an embedder.

        Args:
            embedder: The embedder.
            max_tokens: Longest passage; as long as the embedder reads unless given, and no longer.
            overlap: As for the splitter.

        Raises:
            InputError: The sizes leave no room for text.
        """
        (prefix,) = embedder.token_spans([embedder.passage_prefix])
        longest = embedder.max_tokens
        return cls(
            embedder.token_spans,
            longest if max_tokens is None else min(max_tokens, longest),
            overlap=overlap,
            special_tokens=embedder.special_tokens + len(prefix),
        )

    def split(self, documents: Sequence[Document]) -> list[list[Passage]]:
        """Split documents; each passage's `indexed_text` fits `max_tokens`, counted on its own.

        Title and headings get at most a quarter of a passage. Where they are longer, headings
        are left out, the outermost first, and then the title is cut, which '…' shows.

        Returns:
            The passages of each document, in order. They cover all its text but white space.

        Raises:
            InputError: One character has more tokens than a passage may.
        """
        outlines = [
            outline(
                document.text,
                markdown=document.metadata.get("format") in _MARKDOWN,
                title=document.title,
            )
            for document in documents
        ]
        pairs = {
            (document.title, block.path)
            for document, blocks in zip(documents, outlines, strict=True)
            for block in blocks
        }
        labels = shorten_labels(pairs, self._limit // 4, self._token_spans)
        located = tokenize([document.text for document in documents], self._token_spans)
        passages = []
        for document, blocks, tokens in zip(documents, outlines, located, strict=True):
            of_one = {block.path: labels[document.title, block.path] for block in blocks}
            rooms = {path: self._limit - label.tokens for path, label in of_one.items()}
            ranges = Packer(document.text, tokens, rooms, self._overlap).pack(blocks)
            passages.append([_passage(document, r.start, r.end, of_one[r.path]) for r in ranges])
        return self._fit(documents, passages)

    def _fit(
        self, documents: Sequence[Document], passages: Sequence[Sequence[Passage]]
    ) -> list[list[Passage]]:
        """Halve passages that have more tokens alone than they have within their document."""
        fitting: list[list[Passage]] = [[] for _ in documents]
        todo: list[tuple[int, Passage, int | None]] = []
        for index, of_one in enumerate(passages):
            later: list[int | None] = [*(passage.start for passage in of_one[1:]), None]
            todo += [(index, *pair) for pair in zip(of_one, later, strict=False)]
        while todo:
            found = self._token_spans([passage.indexed_text for _, passage, _ in todo])
            long = []
            for (index, passage, following), spans in zip(todo, found, strict=True):
                if len(spans) <= self._limit:
                    fitting[index].append(passage)
                else:
                    halves = _halve(documents[index], passage, following)
                    long += [(index, half, after) for half, after in halves]
            todo = long
        return [sorted(of_one, key=lambda passage: passage.start) for of_one in fitting]


def _halve(
    document: Document, passage: Passage, following: int | None
) -> list[tuple[Passage, int | None]]:
    """Cut a passage in two, each with where the passage after it starts.

    Both halves start before the passage that follows, so that starts keep increasing.
    """
    start, end = passage.start, passage.end
    if end - start < 2:
        raise InputError(
            f"{document.id}: the character {passage.text!r} does not fit a passage; "
            "give more max_tokens"
        )
    bound = end if following is None else min(end, following)
    if bound - start < 2:
        # The passage that follows has all but the first character too.
        return [(_cut(document, passage, start, bound), following)]
    middle = (start + bound) // 2
    middle = max(document.text.rfind(mark, start + 1, middle) + 1 for mark in " \n") or middle
    second = _cut(document, passage, middle, end)
    first = _cut(document, passage, start, middle)
    if not second.text or (following is not None and second.start >= following):
        return [(first, following)]
    return [(first, second.start), (second, following)]


def _cut(document: Document, passage: Passage, start: int, end: int) -> Passage:
    text = document.text[start:end]
    start += len(text) - len(text.lstrip())
    return _passage(
        document, start, start + len(text.strip()), Label(passage.title, (passage.heading,))
    )


def _passage(document: Document, start: int, end: int, label: Label) -> Passage:
    return Passage(
        id=f"{document.id}#{start}-{end}",
        document_id=document.id,
        text=document.text[start:end],
        start=start,
        end=end,
        title=label.title,
        heading=label.heading,
        uri=document.uri,
        metadata=document.metadata,
    )
