"""Folders to documents, with a reason for each file left out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from rag.core.documents import Document
from rag.core.errors import InputError, LoadError, MissingExtra
from rag.text.jsonl import read_jsonl
from rag.text.loading import FORMATS, MAX_BYTES, load

_JSONL = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file, or a line of one, that gave no document.

    Args:
        path: The file or folder.
        reason: Why, with the line where it is about one.
    """

    path: Path
    reason: str


class FoundFile(NamedTuple):
    """A file to read.

    Attributes:
        path: Where it is.
        document_id: Name of its document: the name of the folder that was given and the path
            in it, with forward slashes; so it does not depend on where the command runs.
    """

    path: Path
    document_id: str


class _Rules(NamedTuple):
    """A `.gitignore`: its patterns, and its folder below the root ('' or ending in '/')."""

    spec: GitIgnoreSpec
    folder: str


def find_files(
    paths: Sequence[str | Path], *, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Iterator[FoundFile | Skipped]:
    """Walk folders in sorted order.

    Patterns are those of `.gitignore`, relative to each folder given. Hidden files and folders
    are passed over, and so is what `exclude` or a `.gitignore` in the folder excludes (the
    deepest file decides; `exclude` comes before all). Links to folders are not followed. A
    file given itself is taken whatever the patterns say.

    Args:
        paths: Folders and files.
        include: Patterns of files to take; by default the suffixes that have a reader.
        exclude: Patterns of files and folders to leave out.

    Returns:
        The files, with those that could be wanted but are not taken, and why.

    Raises:
        InputError: A path does not exist, or a pattern is malformed; before anything is walked.
    """
    roots = [Path(path) for path in paths]
    for root in roots:
        if not root.exists():
            raise InputError(f"no such file or folder: {root}")
    try:
        included = GitIgnoreSpec.from_lines(include) if include else None
        excluded = GitIgnoreSpec.from_lines(exclude)
    except ValueError as error:
        raise InputError(f"malformed pattern: {error}") from error
    return _find(roots, included, excluded)


def _find(
    roots: list[Path], included: GitIgnoreSpec | None, excluded: GitIgnoreSpec
) -> Iterator[FoundFile | Skipped]:
    for root in roots:
        name = _text(root.resolve().name)
        if not root.is_dir():
            yield FoundFile(root, name)
            continue
        for found in _walk(root, "", excluded, ()):
            if isinstance(found, Skipped):
                yield found
                continue
            if included is not None:
                if included.match_file(found.document_id):
                    yield FoundFile(found.path, f"{name}/{_text(found.document_id)}")
            elif found.path.suffix.lower() in (*FORMATS, *_JSONL):
                yield FoundFile(found.path, f"{name}/{_text(found.document_id)}")
            else:
                suffix = found.path.suffix
                yield Skipped(found.path, f"unknown format '{suffix}'; include it to read as text")


def _walk(
    folder: Path, below: str, excluded: GitIgnoreSpec, rules: tuple[_Rules, ...]
) -> Iterator[FoundFile | Skipped]:
    """Yield the files under a folder, named by their path below the root."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        if any(entry.name == ".gitignore" and entry.is_file() for entry in entries):
            lines = (folder / ".gitignore").read_text("utf-8", errors="replace").splitlines()
            rules = (*rules, _Rules(GitIgnoreSpec.from_lines(lines), below))
    except (OSError, ValueError) as error:
        yield Skipped(folder, f"cannot be listed: {error}")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path, name = folder / entry.name, below + entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if _is_ignored(f"{name}/" if is_folder else name, excluded, rules):
            continue
        if is_folder:
            yield from _walk(path, f"{name}/", excluded, rules)
        elif path.is_dir():
            yield Skipped(path, "a link to a folder; name the folder itself to read it")
        else:
            yield FoundFile(path, name)


def _is_ignored(name: str, excluded: GitIgnoreSpec, rules: tuple[_Rules, ...]) -> bool:
    """Say whether the deepest rule that says anything of a path excludes it."""
    verdict = _verdict(excluded, name)
    for rule in reversed(rules):
        if verdict is not None:
            break
        verdict = _verdict(rule.spec, name.removeprefix(rule.folder))
    return bool(verdict)


def _verdict(spec: GitIgnoreSpec, name: str) -> bool | None:
    """Return what the last pattern that matches a path says; None if none matches.

    As in git, and unlike `GitIgnoreSpec.check_file`, a pattern that matches a folder says
    nothing of what is in it: an excluded folder is not walked, and one that `!` brings back has
    brought back only itself.
    """
    for pattern in reversed(spec.patterns):
        if pattern.include is None or not (found := pattern.match_file(name)):
            continue
        marks = [end for _, end in found.match.regs[1:]]
        # The mark is the slash after a folder that matched: the path's own, or of one above it.
        # A pattern without one, such as 'a/**', is about what is in the folder that it spells.
        itself = all(end in (-1, len(name)) for end in marks)
        if itself and (marks or not (name.endswith("/") and found.match.end() == len(name))):
            return pattern.include
    return None


def _text(name: str) -> str:
    """Make a file name that is no valid Unicode storable."""
    return os.fsencode(name).decode("utf-8", errors="replace")


def read_documents(
    paths: Sequence[str | Path],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_bytes: int = MAX_BYTES,
) -> Iterator[Document | Skipped]:
    """Read folders and files, one document at a time.

    No file ends the run: one that cannot be read, and a bad line of a JSON Lines file, is
    `Skipped` with its reason. So is a document whose id came up before.

    Args:
        paths: Folders and files; `.jsonl` files hold a document a line.
        include: See `find_files`.
        exclude: See `find_files`.
        max_bytes: Largest file, or line of JSON, that is read.

    Returns:
        Documents and what was left out, in the order of `find_files`.

    Raises:
        InputError: A path does not exist, or a pattern is malformed; before anything is read.
    """
    return read_found(find_files(paths, include=include, exclude=exclude), max_bytes=max_bytes)


def read_found(
    files: Iterable[FoundFile | Skipped], *, max_bytes: int = MAX_BYTES
) -> Iterator[Document | Skipped]:
    """Read what `find_files` found, in the way of `read_documents`."""
    seen: set[str] = set()
    for found in files:
        if isinstance(found, Skipped):
            yield found
            continue
        for document in _load(found, max_bytes):
            if isinstance(document, Document) and document.id in seen:
                yield Skipped(found.path, f"another document has the id '{document.id}'")
                continue
            if isinstance(document, Document):
                seen.add(document.id)
            yield document


def _load(found: FoundFile, max_bytes: int) -> Iterator[Document | Skipped]:
    path, document_id = found
    try:
        if path.suffix.lower() not in _JSONL:
            yield load(path, document_id=document_id, max_bytes=max_bytes)
            return
        for item in read_jsonl(path, document_id=document_id, max_bytes=max_bytes):
            yield Skipped(path, str(item)) if isinstance(item, LoadError) else item
    except LoadError as error:
        yield Skipped(path, error.reason)
    except MissingExtra as error:
        yield Skipped(path, str(error))
    except OSError as error:
        yield Skipped(path, error.strerror or str(error))
