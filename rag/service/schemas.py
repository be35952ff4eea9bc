"""What requests and replies of the API look like: collections, documents, jobs, the service."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from rag.service.settings import Name

Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000, pattern=r"\S")]
"""A question or a query."""

JobKind = Literal["upload", "folder"]


def _number(value: object) -> object:
    """Refuse what JSON has for numbers only in Python's eyes: true, and "1"."""
    if isinstance(value, bool | str):
        raise ValueError("Input should be a number")  # noqa: TRY004 # pydantic takes no other
    return value


Whole = Annotated[int, BeforeValidator(_number)]
"""A whole number that a client sends."""

Number = Annotated[float, BeforeValidator(_number)]
"""A number that a client sends."""

JobState = Literal["queued", "running", "done", "failed", "cancelled"]


class Request(BaseModel):
    """A body that a client sends; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reply(BaseModel):
    """A body that a client gets."""

    model_config = ConfigDict(frozen=True)


class NewCollection(Request):
    """A collection to make.

    Attributes:
        name: Its name.
    """

    name: Name = Field(examples=["handbook"])


class CollectionReply(Reply):
    """A collection that is served.

    Attributes:
        name: Its name.
        documents: How many documents it holds.
        passages: How many passages they are split into.
        embedder: The model that embeds it.
        index: Kind of its vector index.
        bytes: Its size on disk.
        writable: Whether documents can be added and deleted.
        deletable: Whether it can be deleted.
        created: When it was first served, ISO 8601 in UTC.
    """

    name: str
    documents: int
    passages: int
    embedder: str
    index: str
    bytes: int
    writable: bool
    deletable: bool
    created: str


class DocumentReply(Reply):
    """A document without its text.

    Attributes:
        id: Its name, unique in its collection.
        title: Its title.
        uri: Where it came from.
        metadata: What filters can use.
    """

    id: str
    title: str
    uri: str
    metadata: dict[str, Any]


class DocumentPage(Reply):
    """Some documents of a collection, in the order in which they were added.

    Attributes:
        documents: The documents.
        next: What to give as `after` for those that follow; None after the last.
    """

    documents: tuple[DocumentReply, ...]
    next: str | None


class DocumentText(DocumentReply):
    """A document with its text, which passages and citations point into by character."""

    text: str


class RefusedFile(Reply):
    """A file that was not taken, or gave no document.

    Attributes:
        name: Its name, as it was sent.
        reason: Why.
    """

    name: str
    reason: str


class JobReply(Reply):
    """Work in the background.

    Attributes:
        id: Its name.
        kind: 'upload', or 'folder' for the documents of a folder that is followed.
        collection: The collection that it changes.
        state: 'queued', 'running', 'done', 'failed' or 'cancelled'.
        done: Files that are finished.
        total: Files in all; None while unknown.
        report: What was done: documents `added`, `updated`, `unchanged`, `removed`, `passages`,
            `embedded`, `reused`.
        refused: Files that gave no document, and why.
        error: Why it failed.
        created: When it was asked for, ISO 8601 in UTC.
        started: When it was begun.
        finished: When it ended.
    """

    id: str
    kind: JobKind
    collection: str
    state: JobState
    done: int = 0
    total: int | None = None
    report: dict[str, int] = Field(default_factory=dict)
    refused: tuple[RefusedFile, ...] = ()
    error: str | None = None
    created: str
    started: str | None = None
    finished: str | None = None


class HealthReply(Reply):
    """The process lives.

    Attributes:
        status: 'ok'.
    """

    status: Literal["ok"] = "ok"


class ReadyReply(Reply):
    """Whether the service can do its work.

    Attributes:
        reasons: Why it cannot; none where it can.
    """

    reasons: tuple[str, ...] = ()
