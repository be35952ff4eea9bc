"""Every error the toolkit raises on purpose.

All of them derive from `RagError`, carry what they say as attributes, and end with the next step
where there is one::

    RagError
    ├── InputError             a value the caller gave cannot be used
    │   ├── FilterError        a `where` filter is malformed
    │   ├── DataError          a file of questions, judgements or passages is malformed
    │   └── BudgetTooSmall     nothing that was to be chosen from fits the budget
    ├── LoadError              a document could not be read
    ├── MissingExtra           an optional dependency is not installed
    ├── ModelError             a model cannot be used
    │   ├── ModelNotFound      no model of that name is at hand
    │   ├── CallFailed         a model server did not answer as it should
    │   ├── ContextOverflow    a prompt is longer than the model's context window
    │   └── Unsupported        a backend lacks a capability
    ├── CollectionError        a collection cannot be used
    │   ├── CollectionNotFound
    │   ├── CollectionExists
    │   ├── CollectionLocked   another writer holds the collection
    │   ├── CollectionCorrupt  what is on disk contradicts itself
    │   ├── ManifestMismatch   the collection was built with another embedder
    │   ├── ReadOnly           it was opened for reading only
    │   └── StorageError       the disk refused a read or a write
    ├── SearchFailed           the search could not be carried out (not: found nothing)
    │   └── EngineFailed       a web search engine could not be asked
    ├── FetchFailed            a page of the web could not be fetched or read
    ├── FlowRefused            a text may not be sent where a program wants to send it
    ├── BudgetExhausted        the next call would overrun the budget
    ├── ProgramError           a program broke the rules of the engine
    ├── Cancelled              a program was ended from outside
    └── BatchError             some items of a batch failed; the others' results are inside
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.core.web import EngineFailure, FetchFailure


class RagError(Exception):
    """Base of every error the toolkit raises on purpose."""


class InputError(RagError):
    """A value the caller gave cannot be used."""


class FilterError(InputError):
    """A `where` filter is malformed."""


class DataError(InputError):
    """A file of questions, judgements or passages is malformed.

    Args:
        path: The file.
        reason: What is wrong with it.
        line: The line, counted from 1, where known.
    """

    def __init__(self, path: str, reason: str, line: int | None = None) -> None:
        self.path = path
        self.reason = reason
        self.line = line
        where = path if line is None else f"{path}, line {line}"
        super().__init__(f"{where}: {reason}")


class BudgetTooSmall(InputError):
    """Nothing that was to be chosen from fits the budget.

    Args:
        limits: The limits of the budget, by kind: 'tokens', 'calls', 'seconds', 'cost'.
        smallest: For each kind of limit how much would do.
        fits: What fits that.
    """

    def __init__(
        self, limits: Mapping[str, float], smallest: Mapping[str, float], fits: str
    ) -> None:
        self.limits = limits
        self.smallest = smallest
        self.fits = fits
        stated, needed = (
            ", ".join(f"{limit:,} {kind}" for kind, limit in each.items())
            for each in (limits, smallest)
        )
        super().__init__(
            f"nothing fits a budget of {stated}; the smallest that something fits is {needed} "
            f"({fits})"
        )


class LoadError(RagError):
    """A document could not be read.

    Args:
        uri: The file or address.
        reason: Why it could not be read.
    """

    def __init__(self, uri: str, reason: str) -> None:
        self.uri = uri
        self.reason = reason
        super().__init__(f"{uri}: {reason}")


class MissingExtra(RagError):
    """An optional dependency is not installed.

    Args:
        package: The missing package.
        extra: The extra of `ragmeter` that brings it.
        needed_for: What it is needed for.
    """

    def __init__(self, package: str, extra: str, needed_for: str) -> None:
        self.package = package
        self.extra = extra
        self.needed_for = needed_for
        super().__init__(
            f"{needed_for} needs the package '{package}': pip install 'ragmeter[{extra}]'"
        )


class ModelError(RagError):
    """A model cannot be used."""


class ModelNotFound(ModelError):
    """No model of that name is at hand.

    Args:
        name: The name asked for.
        tried: Where it was looked for, one line each.
    """

    def __init__(self, name: str, tried: Sequence[str]) -> None:
        self.name = name
        self.tried = tuple(tried)
        super().__init__(f"no model '{name}': " + "; ".join(self.tried))


class CallFailed(ModelError):
    """A model server did not answer as it should.

    Args:
        model: The model's name.
        reason: What happened, and the next step where there is one.
        status: The HTTP status of the last answer; None where there was no answer.
        attempts: How often the call was made.
    """

    def __init__(
        self, model: str, reason: str, *, status: int | None = None, attempts: int = 1
    ) -> None:
        self.model = model
        self.reason = reason
        self.status = status
        self.attempts = attempts
        tries = f" (after {attempts} attempts)" if attempts > 1 else ""
        super().__init__(f"{model}: {reason}{tries}")


class ContextOverflow(ModelError):
    """A prompt, with the room its reply needs, is longer than the model's context window.

    Args:
        model: The model's name.
        tokens: Tokens needed.
        limit: Tokens there are.
    """

    def __init__(self, model: str, tokens: int, limit: int) -> None:
        self.model = model
        self.tokens = tokens
        self.limit = limit
        super().__init__(
            f"{model}: {tokens} tokens do not fit the window of {limit}; "
            "give fewer or shorter contexts, or ask for fewer new tokens"
        )


class Unsupported(ModelError):
    """A backend lacks a capability.

    Args:
        backend: The backend's name.
        capability: What it lacks.
        instead: What to use instead.
    """

    def __init__(self, backend: str, capability: str, instead: str) -> None:
        self.backend = backend
        self.capability = capability
        self.instead = instead
        super().__init__(f"{backend} does not support {capability}; {instead}")


class CollectionError(RagError):
    """A collection cannot be used.

    Args:
        path: The collection's directory.
        reason: What is wrong, and the next step.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class CollectionNotFound(CollectionError):
    """There is no collection at the path."""


class CollectionExists(CollectionError):
    """There is a collection at the path already."""


class CollectionLocked(CollectionError):
    """Another writer holds the collection.

    Args:
        path: The collection's directory.
        holder: The process that holds it, as it named itself.
    """

    def __init__(self, path: str, holder: str) -> None:
        self.holder = holder
        super().__init__(path, f"held for writing by {holder}; wait for it or stop it")


class CollectionCorrupt(CollectionError):
    """What is on disk contradicts itself."""


class ManifestMismatch(CollectionError):
    """The collection was built with something other than what it is opened with.

    Args:
        path: The collection's directory.
        field: The manifest field that differs.
        stored: Its value in the collection.
        given: Its value now.
    """

    def __init__(self, path: str, field: str, stored: object, given: object) -> None:
        self.field = field
        self.stored = stored
        self.given = given
        super().__init__(
            path,
            f"{field} is {stored!r} in the collection but {given!r} was given; open it with "
            "the embedder it was built with, or build a new collection",
        )


class ReadOnly(CollectionError):
    """The collection was opened for reading only."""


class StorageError(CollectionError):
    """The disk refused a read or a write; what was committed before is intact."""


class SearchFailed(RagError):
    """A search could not be carried out; this is not the same as finding nothing.

    Args:
        retriever: The retriever's name.
        reason: Why it failed.
    """

    def __init__(self, retriever: str, reason: str) -> None:
        self.retriever = retriever
        self.reason = reason
        super().__init__(f"{retriever}: {reason}")


class EngineFailed(SearchFailed):
    """A web search engine could not be asked.

    Args:
        engine: The engine's name.
        cause: The kind of failure; see `rag.core.web.EngineFailure`.
        reason: What happened, and the next step.
        status: The HTTP status of the last answer; None where there was none.
        attempts: How often the engine was asked.
    """

    def __init__(
        self,
        engine: str,
        cause: EngineFailure,
        reason: str,
        *,
        status: int | None = None,
        attempts: int = 1,
    ) -> None:
        self.engine = engine
        self.cause = cause
        self.status = status
        self.attempts = attempts
        tries = f" (after {attempts} attempts)" if attempts > 1 else ""
        super().__init__(engine, f"{reason}{tries}")


class FetchFailed(RagError):
    """A page of the web could not be fetched or read.

    Args:
        url: The page's URL.
        cause: The kind of failure; see `rag.core.web.FetchFailure`.
        reason: What happened, and the next step where there is one.
        status: The HTTP status of the last answer; None where there was none.
    """

    def __init__(
        self, url: str, cause: FetchFailure, reason: str, *, status: int | None = None
    ) -> None:
        self.url = url
        self.cause = cause
        self.reason = reason
        self.status = status
        super().__init__(f"{url}: {reason}")


class FlowRefused(RagError):
    """A text may not be sent where a program wants to send it; it was not sent.

    Args:
        to: Where it would have gone.
        sensitivity: What the program had read when it wrote the text, in words.
        allowed: What may be sent there, in words.
    """

    def __init__(self, to: str, sensitivity: str, allowed: str) -> None:
        self.to = to
        self.sensitivity = sensitivity
        self.allowed = allowed
        super().__init__(
            f"{to} may be told what is {allowed}, but this was written after reading what is "
            f"{sensitivity}; state in `discloses` what it may be told"
        )


class BudgetExhausted(RagError):
    """The next call would overrun the budget; it was not made.

    The engine throws it into a program at its `await`, so the program can catch it and answer
    with what it has.

    Args:
        kind: Which limit: 'tokens', 'calls', 'seconds' or 'cost'.
        limit: The limit.
        used: What was used, and promised to calls under way, before this call.
        requested: What this call needed.
        stage: The stage of the call.
    """

    def __init__(self, kind: str, limit: float, used: float, requested: float, stage: str) -> None:
        self.kind = kind
        self.limit = limit
        self.used = used
        self.requested = requested
        self.stage = stage
        super().__init__(
            f"budget of {limit:g} {kind} exhausted at stage '{stage}': "
            f"{used:g} used, {requested:g} more needed"
        )


class ProgramError(RagError):
    """A program broke the rules of the engine."""


class Cancelled(RagError):
    """A program was ended from outside."""


class BatchError(RagError):
    """Some items of a batch failed.

    Args:
        results: One entry an item, in order: its result, or the error that it met.
    """

    def __init__(self, results: Sequence[Any]) -> None:
        self.results = tuple(results)
        failed = [item for item in self.results if isinstance(item, Exception)]
        super().__init__(
            f"{len(failed)} of {len(self.results)} items of a batch failed; first: {failed[0]}"
        )
