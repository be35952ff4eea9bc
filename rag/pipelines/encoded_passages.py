"""The encoded passages of a collection: where they lie, what they are of, and their removal.

Their files hold the tokens of passages, so what is removed from a collection goes from here, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rag.core.errors import CollectionError, MissingExtra
from rag.core.hits import Hit
from rag.core.templates import SHIPPED, Template, load_template

if TYPE_CHECKING:
    from rag.context.store import ContextStore, Removed
    from rag.core.documents import Passage
    from rag.indexes import AnyCollection

FOLDER = "contexts"

_ENCODED = ("query_likelihood", "read")
"""The prompts whose passages are kept encoded; others may word passages alike, but never read
what was encoded after these prompts' system texts."""


def stores_in(folder: Path) -> list[ContextStore]:
    """Return the stores of all models that a folder holds something of."""
    from rag.context.model_folder import model_folders
    from rag.context.store import ContextStore

    return [ContextStore(folder, each.model, each.revision) for each in model_folders(folder)]


def context_of(template: Template, passage: Passage) -> str:
    """Return a passage as a template shows it, alone, to a model."""
    return template.render("", [Hit(passage, 0.0)]).contexts[0]


def why_varying(template: Template) -> str:
    """Return why passages cannot be encoded for all questions at once; '' if they can."""
    if "{number}" in template.context:
        return (
            "'context' has {number}, as it does by default, so that a passage reads differently in "
            "every place; give one without"
        )
    for name in ("{question}", "{count}", "{top}"):
        if name in template.system:
            return (
                f"'system' has {name}, and contexts are encoded after it, so they would be other "
                "ones for other questions; move it to 'question'"
            )
    return ""


def keep_wording(template: Template, store: ContextStore) -> None:
    """Keep how a build words passages: what is of passages that are gone is found by it.

    Raises:
        StorageError: The disk refused.
    """
    from rag.context.model_folder import refused
    from rag.context.whole_files import replace_file

    path = store.path / template.path.name
    try:
        if template.path.parent == SHIPPED:
            path.unlink(missing_ok=True)
        else:
            replace_file(path, template.path.read_bytes())
    except OSError as error:
        raise refused(path, "written", error) from error


def sources(collection: AnyCollection, worded: Iterable[Template]) -> set[str]:
    """Return what tells passages, in the words of templates, from all other contexts."""
    from rag.context.segments import source_of

    distinct = list({each.context: each for each in worded}.values())
    return {
        source_of(context_of(template, passage))
        for passage in collection.passages()
        for template in distinct
    }


def drop_gone(collection: AnyCollection, stores: Iterable[ContextStore]) -> Removed:
    """Drop what is encoded of passages that are gone or have changed.

    Args:
        collection: The collection.
        stores: Where; each drops what neither the shipped prompts nor those that it was built with
            show of any passage.

    Raises:
        CollectionLocked: Another process is building, pruning, verifying or calibrating.
        StorageError: The disk refused.
    """
    from rag.context.store import Removed

    entries = size = 0
    kept: dict[frozenset[str], set[str]] = {}
    for store in stores:
        prompts = (load_template(name, store.path) for name in _ENCODED)
        worded = [each for each in prompts if not why_varying(each)]
        wordings = frozenset(each.context for each in worded)
        if wordings not in kept:
            kept[wordings] = sources(collection, worded)
        removed = store.prune(kept[wordings])
        entries, size = entries + removed.entries, size + removed.bytes
    return Removed(entries, size)


def drop_removed(collection: AnyCollection) -> dict[str, int]:
    """Drop what is encoded of passages that a command has removed or changed.

    Returns:
        How many contexts were dropped, by the name that this has in JSON; nothing for a
        collection that has none.

    Raises:
        CollectionError: It could not be done.
    """
    # Beside a directory; what Milvus holds has no such place.
    if isinstance(collection.path, str) or not (folder := collection.path / FOLDER).is_dir():
        return {}
    try:
        return {"contexts_dropped": drop_gone(collection, stores_in(folder)).entries}
    except (CollectionError, MissingExtra) as error:
        raise CollectionError(
            str(folder),
            f"the documents have changed, but what is encoded of them is still there: {error}; "
            f"then drop it with `rag cache prune {collection.path}`",
        ) from error
