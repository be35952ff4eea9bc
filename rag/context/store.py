"""Encoded contexts on disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout

from rag.context.encoded import EncodedContext
from rag.context.entry import Entry, EntryKey, EntryRejected, Stamp, serialised
from rag.context.manifest import Manifest
from rag.context.model_folder import ModelFolder, StoreInfo, model_folders, refused, remove
from rag.context.whole_files import leftovers, replace_file
from rag.core.errors import CollectionLocked, InputError, StorageError
from rag.core.progress import Progress, silent


class Removed(NamedTuple):
    """What was removed.

    Args:
        entries: Encoded contexts and prefixes.
        bytes: Bytes of their files.
    """

    entries: int
    bytes: int


class Verified(NamedTuple):
    """What `ContextStore.verify` found.

    Args:
        entries: Entries that are as they were written.
        bytes: Bytes of their files.
        rejected: Files that were removed, and why.
    """

    entries: int
    bytes: int
    rejected: dict[Path, str]


class ContextStore:
    """The encoded contexts of one model in a folder: a safetensors file for each.

    It is a cache. A file that is not exactly what was written, for exactly these tokens after this
    prefix by this model, is removed and counts as absent. Files appear whole or not at all and are
    never changed, so any number of threads and processes may read and write.

    Args:
        folder: The folder; several models may share it. Made when something is written.
        model: Name of the model.
        revision: Version of its weights and of the numbers it computes with: all that decides
            what states it computes for tokens.
        int8: Round states to int8 when they are written. Entries of either kind are only found by
            a store of that kind.

    Attributes:
        rejected: The files that were not used by this store, and why.
    """

    def __init__(self, folder: Path, model: str, revision: str, *, int8: bool = False) -> None:
        self.model = model
        self.revision = revision
        self.int8 = int8
        self.rejected: dict[Path, str] = {}
        self._folder = ModelFolder(folder, model, revision)
        self._checked: dict[Path, Stamp] = {}
        self._lock = FileLock(self.path / "writer.lock", timeout=0)

    @property
    def path(self) -> Path:
        """The model's own folder."""
        return self._folder.path

    @classmethod
    def models_in(cls, folder: Path) -> list[StoreInfo]:
        """Return what a folder holds for each model.

        Raises:
            StorageError: It cannot be read.
        """
        return [each.info() for each in model_folders(folder)]

    def get(self, prefix: Sequence[int], tokens: Sequence[int]) -> EncodedContext | None:
        """Return an encoded context as a view of its file; None if there is none.

        The file is read once, to compare its checksum; again only if it changes.

        Args:
            prefix: Tokens after which it was encoded.
            tokens: Its own tokens.

        Raises:
            StorageError: There is a file, and it cannot be opened.
        """
        key = self._key(prefix, tokens)
        path = self._folder.place(key)
        try:
            entry = self._folder.open(path)
            if entry.key != key:
                raise EntryRejected("it is of other tokens")
            # The stamp is from before the file was mapped: if it still holds, it is the mapping's.
            if not self._checked.get(path) == entry.stamp == Stamp.of(path.stat()):
                entry.check()
        except FileNotFoundError:
            return None
        except EntryRejected as error:
            self._reject(path, error)
            return None
        self._checked[path] = entry.stamp
        return entry.encoded

    def put(
        self, prefix: Sequence[int], tokens: Sequence[int], states: torch.Tensor, source: str = ""
    ) -> EncodedContext:
        """Write an encoded context.

        Args:
            prefix: Tokens after which it was encoded; none for a prefix itself.
            tokens: Its own tokens.
            states: Keys and values of its own tokens; shape
                (2, layers, key-value heads, tokens, dimension).
            source: Names the text that it came from, for `prune` and `sources`: the SHA-256 of
                the text, in hexadecimal. '' for prefixes.

        Returns:
            The context as `get` would return it, in the computer's memory.

        Raises:
            InputError: The states are not those of so many tokens.
            ModelError: The states are not finite.
            StorageError: The disk refused.
        """
        key = self._key(prefix, tokens)
        encoded = self.encoded(states).to("cpu")
        if encoded.tokens != len(tokens):
            raise InputError(f"states of {encoded.tokens} tokens were given for {len(tokens)}")
        path = self._folder.place(key)
        try:
            replace_file(path, serialised(key, source, encoded))
        except OSError as error:
            raise refused(path, "written", error) from error
        return encoded

    def encoded(self, states: torch.Tensor) -> EncodedContext:
        """Return states as they are kept here: as computed, or rounded to int8."""
        return (EncodedContext.quantised if self.int8 else EncodedContext.of)(states)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep others from building, pruning, verifying or calibrating meanwhile.

        What needs it takes it by itself; taken once more in the same thread it changes nothing.
        `get` and `put` do without.

        Raises:
            CollectionLocked: Another process is at it.
            StorageError: The folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise CollectionLocked(str(self.path), "another process") from error
        except OSError as error:
            raise refused(self.path, "written", error) from error
        try:
            yield
        finally:
            self._lock.release()

    def prune(self, keep: Collection[str]) -> Removed:
        """Remove the contexts whose source is not among some; prefixes stay.

        Raises:
            CollectionLocked: Another process is building, pruning, verifying or calibrating.
            StorageError: The disk refused.
        """
        wanted = {"", *keep}
        return self._remove(lambda entry: entry is not None and entry.source not in wanted)

    def clear(self) -> Removed:
        """Remove all contexts and prefixes of the model; the calibration stays.

        Raises:
            CollectionLocked: Another process is building, pruning, verifying or calibrating.
            StorageError: The disk refused.
        """
        return self._remove(lambda _: True)

    def verify(self, progress: Progress = silent) -> Verified:
        """Read all entries and remove those that are not as they were written.

        Raises:
            CollectionLocked: Another process is building, pruning, verifying or calibrating.
            StorageError: A file cannot be read.
        """
        entries = size = 0
        rejected: dict[Path, str] = {}
        with self.writing():
            self._remove_leftovers()
            paths = self._folder.files()
            for number, path in enumerate(paths, 1):
                try:
                    entry = self._folder.open(path)
                    entry.check()
                except FileNotFoundError:
                    pass  # removed meanwhile, by a reader
                except EntryRejected as error:
                    self._reject(path, error)
                    rejected[path] = str(error)
                else:
                    entries, size = entries + 1, size + entry.stamp.size
                progress("verifying", number, len(paths))
        return Verified(entries, size, rejected)

    def sources(self, prefix: Sequence[int]) -> set[str]:
        """Return the sources of which `get` would find contexts, going by the files' headers.

        Args:
            prefix: Tokens after which they were encoded.

        Raises:
            StorageError: A file cannot be opened.
        """
        wanted = (self.int8, tuple(prefix))
        return {
            entry.source
            for _, entry in self._folder.entries()
            if entry and entry.source and (entry.key.int8, entry.key.prefix) == wanted
        }

    def info(self) -> StoreInfo:
        """Return what the folder holds for the model, going by the files' headers.

        Raises:
            StorageError: A file cannot be opened.
        """
        return self._folder.info()

    @property
    def calibration(self) -> dict[str, Any] | None:
        """What `record` wrote; None if nothing did, or if the manifest cannot be used."""
        manifest, _ = self._folder.manifest()
        return manifest.calibration if manifest else None

    def record(self, calibration: Mapping[str, Any]) -> None:
        """Write what calibrating the model found, in place of what was found before.

        Args:
            calibration: Values that JSON has.

        Raises:
            CollectionLocked: Another process is building, pruning, verifying or calibrating.
            StorageError: The disk refused.
        """
        manifest = Manifest(model=self.model, revision=self.revision, calibration=dict(calibration))
        with self.writing():
            try:
                manifest.write(self.path)
            except OSError as error:
                raise refused(self.path, "written", error) from error

    def _key(self, prefix: Sequence[int], tokens: Sequence[int]) -> EntryKey:
        return EntryKey(self.model, self.revision, self.int8, tuple(prefix), tuple(tokens))

    def _reject(self, path: Path, reason: EntryRejected) -> None:
        self.rejected[path] = str(reason)
        with suppress(StorageError):
            remove(path)

    def _remove(self, unwanted: Callable[[Entry | None], bool]) -> Removed:
        entries = size = 0
        with self.writing():
            self._remove_leftovers()
            for path, entry in self._folder.entries():
                if unwanted(entry):
                    remove(path)
                    if entry:
                        entries, size = entries + 1, size + entry.stamp.size
        return Removed(entries, size)

    def _remove_leftovers(self) -> None:
        for path in leftovers(self.path):
            remove(path)
