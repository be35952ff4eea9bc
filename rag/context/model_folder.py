"""The folder in which the files of one model's encoded contexts lie."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rag.context.entry import Entry, EntryKey, EntryRejected
from rag.context.manifest import Manifest
from rag.context.whole_files import leftovers
from rag.core.errors import StorageError


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a folder holds for one model, as far as the headers of its files tell.

    Args:
        model: Name of the model.
        revision: Version of its weights and of the numbers it computes with.
        entries: Encoded contexts and prefixes.
        tokens: Tokens of all of them.
        bytes: Bytes of their files.
        int8: Those of the entries that are rounded to int8.
        rejected: Files that are no entries of this model; `ContextStore.verify` removes them.
        leftovers: Files of writers that were ended before they were done; `prune` and `verify`
            remove them.
        manifest: Why the manifest cannot be used; '' if it can, or if there is none.
    """

    model: str
    revision: str
    entries: int
    tokens: int
    bytes: int
    int8: int
    rejected: int
    leftovers: int
    manifest: str


class ModelFolder:
    """The files of one model's encoded contexts, two levels deep.

    Args:
        parent: The folder that several models share.
        model: Name of the model.
        revision: Version of its weights and of the numbers it computes with.

    Attributes:
        path: The model's own folder, which need not be there.
    """

    def __init__(self, parent: Path, model: str, revision: str) -> None:
        self.model = model
        self.revision = revision
        # A name that can be read, and that no other model or revision has.
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(model).name)[:60].lstrip(".")
        digest = hashlib.sha256(json.dumps([model, revision]).encode()).hexdigest()
        self.path = parent / f"{readable}-{digest[:12]}"

    def place(self, key: EntryKey) -> Path:
        """Return where the file of an entry belongs."""
        digest = key.digest
        return self.path / digest[:2] / f"{digest}.safetensors"

    def files(self) -> list[Path]:
        """Return the files of entries, and what lies in their places."""
        return _files(self.path)

    def open(self, path: Path) -> Entry:
        """Map a file, looking at its header and its tokens only.

        Raises:
            EntryRejected: It is not the entry of this model that belongs there.
            FileNotFoundError: There is none.
            StorageError: It cannot be opened.
        """
        entry = _opened(path)
        if (entry.key.model, entry.key.revision) != (self.model, self.revision):
            raise EntryRejected(f"it is of {entry.key.model}, revision {entry.key.revision}")
        if entry.key.digest != path.stem:
            raise EntryRejected("its name is not that of its tokens")
        return entry

    def entries(self) -> Iterator[tuple[Path, Entry | None]]:
        """Yield all files, with None for those that are not the entries that belong there.

        Each entry is a mapping, of which a process has some tens of thousands: hold few.

        Raises:
            StorageError: A file cannot be opened.
        """
        for path in self.files():
            try:
                yield path, self.open(path)
            except FileNotFoundError:
                continue  # removed meanwhile
            except EntryRejected:
                yield path, None

    def manifest(self) -> tuple[Manifest | None, str]:
        """Return the manifest; or None, and why there is none that can be used."""
        try:
            manifest = Manifest.read(self.path)
        except ValueError as error:
            return None, str(error)
        if manifest and (manifest.model, manifest.revision) != (self.model, self.revision):
            return None, f"it is of {manifest.model}, revision {manifest.revision}"
        return manifest, ""

    def info(self) -> StoreInfo:
        """Return what the folder holds.

        Raises:
            StorageError: A file cannot be opened.
        """
        entries = tokens = size = int8 = rejected = 0
        for _, entry in self.entries():
            if entry is None:
                rejected += 1
            else:
                entries += 1
                tokens += entry.encoded.tokens
                size += entry.stamp.size
                int8 += entry.key.int8
        _, manifest = self.manifest()
        return StoreInfo(
            model=self.model,
            revision=self.revision,
            entries=entries,
            tokens=tokens,
            bytes=size,
            int8=int8,
            rejected=rejected,
            leftovers=len(leftovers(self.path)),
            manifest=manifest,
        )


def model_folders(parent: Path) -> Iterator[ModelFolder]:
    """Yield the folders of models that there are.

    Raises:
        StorageError: A folder or file cannot be read.
    """
    for path in _folders(parent):
        named = (ModelFolder(parent, model, revision) for model, revision in _named_in(path))
        if folder := next((folder for folder in named if folder.path == path), None):
            yield folder


def remove(path: Path) -> None:
    """Remove what lies at a path, if anything does.

    Raises:
        StorageError: The disk refused.
    """
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise refused(path, "removed", error) from error


def refused(path: Path, done: str, error: OSError) -> StorageError:
    """Return the error that says what cannot be done, why, and the next step."""
    return StorageError(
        str(path),
        f"cannot be {done}: {error.strerror or error}; make room, allow access, or name another "
        "folder",
    )


def _opened(path: Path) -> Entry:
    try:
        return Entry.open(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refused(path, "read", error) from error


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise refused(parent, "read", error) from error


def _files(folder: Path) -> list[Path]:
    return [path for part in _folders(folder) for path in sorted(part.glob("*.safetensors"))]


def _named_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the models and revisions that files in a folder say they are of."""
    with suppress(ValueError):
        if manifest := Manifest.read(folder):
            yield manifest.model, manifest.revision
    for path in _files(folder):
        with suppress(EntryRejected, FileNotFoundError):
            key = _opened(path).key
            yield key.model, key.revision
