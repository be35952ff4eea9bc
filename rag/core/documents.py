"""Documents and the passages they are split into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rag.core.sensitivity import Sensitivity, sensitivity_of

Scalar = str | int | float | bool | None
"""A metadata value that filters can compare."""

Metadata = Mapping[str, Scalar | list[Scalar]]
"""Metadata of a document: names to scalars or flat lists of them."""


@dataclass(frozen=True, slots=True)
class Document:
    """A source text: a file, a page, a record.

    Args:
        id: Name of the document, unique in its collection (for files: the path as given).
        text: The text that passages and citations point into, by character offsets.
        title: A title for people, also searched and shown to models.
        uri: Where the document came from, if anywhere.
        metadata: Values that filters can use. `sensitivity` says who may learn of the text:
            'public', a tag of your own, or a list of tags; 'internal' where it is absent.
    """

    id: str
    text: str
    title: str = ""
    uri: str = ""
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document that is indexed, retrieved and cited as one.

    `document.text[start:end] == text` always holds.

    Args:
        id: Name of the passage, unique in its collection.
        document_id: The document it is a piece of.
        text: The text.
        start: First character in the document's text.
        end: One past the last character in the document's text.
        title: The document's title.
        heading: Headings above the passage, outermost first, joined by ' > '.
        uri: Where the document came from.
        metadata: The document's metadata.
    """

    id: str
    document_id: str
    text: str
    start: int
    end: int
    title: str = ""
    heading: str = ""
    uri: str = ""
    metadata: Metadata = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Title and headings in one line, for models and people; '' where there are none."""
        return " > ".join(part for part in (self.title, self.heading) if part)

    @property
    def sensitivity(self) -> Sensitivity:
        """Who may learn of the passage, as its metadata say."""
        return sensitivity_of(self.metadata)

    @property
    def indexed_text(self) -> str:
        """What embedders read: the label, a line break, the text."""
        return f"{self.label}\n{self.text}" if self.label else self.text
