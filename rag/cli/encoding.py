"""Encoding every passage of a collection."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rag.core.errors import ContextOverflow, StorageError
from rag.core.progress import Progress
from rag.core.templates import Template

if TYPE_CHECKING:
    from rag.context import ContextStore
    from rag.indexes import Collection
    from rag.models.transformers_llm import TransformersLLM

_PORTION = 32
"""Contexts that are encoded between two reports of progress; what Ctrl-C waits for."""


class _Context(NamedTuple):
    source: str
    passage_id: str
    text: str


@dataclass(frozen=True, slots=True)
class BuildEstimate:
    """What encoding a collection would take; passages that read the same count once.

    Args:
        there: Passages that are encoded already.
        passages: Passages that are not.
        tokens: Their tokens.
        bytes: Room for their states.
        free_bytes: Room on the disk.
    """

    there: int
    passages: int
    tokens: int
    bytes: int
    free_bytes: int


@dataclass(slots=True)
class Built:
    """What was encoded.

    Args:
        encoded: Passages.
        tokens: Their tokens.
        dropped: Contexts of passages that are gone or have changed.
        too_long: Ids of passages that exceed the model's window.
    """

    encoded: int = 0
    tokens: int = 0
    dropped: int = 0
    too_long: list[str] = field(default_factory=list)


class Build:
    """Encodes the passages of a collection for one model.

    Args:
        collection: The collection.
        template: Shows them to the model.
        llm: The model.
        store: Where they are kept.

    Raises:
        Unsupported: The model's contexts cannot be encoded apart.
    """

    def __init__(
        self, collection: Collection, template: Template, llm: TransformersLLM, store: ContextStore
    ) -> None:
        from rag.context import ApeSettings, ParallelLLM

        self._collection = collection
        self._template = template
        self._store = store
        self._prompt = template.render("", [])
        # Encoding is the same at all settings. Nothing is held in memory: it is for others to read.
        self._model = ParallelLLM(llm, ApeSettings(), store=store, ram_bytes=0, gpu_bytes=0)

    def estimate(self, progress: Progress) -> BuildEstimate:
        """Count what is there and what is not."""
        known = self._known()
        total = self._collection.info().passages
        there = new = tokens = size = 0
        (own,) = self._model.count_tokens([self._prompt])
        for portion in _portions(self._contexts()):
            missing = [each.text for each in portion if each.source not in known]
            asked = replace(self._prompt, contexts=tuple(missing))
            there, new = there + len(portion) - len(missing), new + len(missing)
            tokens += self._model.count_tokens([asked])[0] - own
            size += self._model.state_bytes([asked])
            progress("counting tokens", there + new, total)
        return BuildEstimate(there, new, tokens, size, _free_bytes(self._store.path))

    def run(self, estimate: BuildEstimate, progress: Progress) -> Built:
        """Drop what is of passages that are gone, and encode those that are not there.

        Raises:
            CollectionLocked: Another process is building, pruning, verifying or calibrating.
            StorageError: There is too little room, or the disk refused.
        """
        from rag.pipelines.encoded_passages import drop_gone, keep_wording

        built = Built()
        with self._store.writing():
            generation = self._collection.info().generation
            keep_wording(self._template, self._store)
            built.dropped = drop_gone(self._collection, [self._store]).entries
            self._refuse_too_little_room(estimate.bytes)
            known = self._known()
            missing = (each for each in self._contexts() if each.source not in known)
            for portion in _portions(missing):
                self._encode(portion, built)
                done = built.encoded + len(built.too_long)
                progress("encoding passages", done, max(done, estimate.passages))
            if self._collection.info().generation != generation:
                built.dropped += drop_gone(self._collection, [self._store]).entries
        return built

    def _encode(self, contexts: Sequence[_Context], built: Built) -> None:
        texts = tuple(each.text for each in contexts)
        try:
            built.tokens += self._model.prefill([replace(self._prompt, contexts=texts)])
        except ContextOverflow:
            if len(contexts) == 1:
                built.too_long.append(contexts[0].passage_id)
                return
            for each in contexts:
                self._encode([each], built)
        else:
            built.encoded += len(contexts)

    def _known(self) -> set[str]:
        """Return the sources of what is encoded after this prompt's system text."""
        return self._store.sources(self._model.prefix_of(self._prompt))

    def _contexts(self) -> Iterator[_Context]:
        """Yield what the model reads of the passages, the same text once."""
        from rag.context.segments import source_of
        from rag.pipelines.encoded_passages import context_of

        seen = set()
        for passage in self._collection.passages():
            text = context_of(self._template, passage)
            source = source_of(text)
            if source not in seen:
                seen.add(source)
                yield _Context(source, passage.id, text)

    def _refuse_too_little_room(self, needed: int) -> None:
        free = _free_bytes(self._store.path)
        if needed > free:
            raise StorageError(
                str(self._store.path),
                f"encoding takes about {megabytes(needed)}, and {megabytes(free)} are free; make "
                "room, or name a folder on another disk with --store",
            )


def _portions(contexts: Iterator[_Context]) -> Iterator[list[_Context]]:
    while portion := list(islice(contexts, _PORTION)):
        yield portion


def _free_bytes(folder: Path) -> int:
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(there).free


def megabytes(size: int) -> str:
    """Return a size in words."""
    return f"{size / 1e6:,.1f} MB"
