"""Folders that appear whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rag.core.errors import InputError


def refuse_existing(folder: Path) -> None:
    """Raise `InputError` if there is something at a path."""
    if folder.exists():
        raise InputError(f"{folder} is there already; name another folder")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, which takes its place when all is written.

    Raises:
        InputError: Something is there already, or the disk refuses.
    """
    from safetensors import SafetensorError

    refuse_existing(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="partial-", dir=folder.parent) as scratch:
            finished = Path(scratch) / "finished"
            finished.mkdir()
            yield finished
            finished.rename(folder)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder} cannot be written: {error}; name another folder") from error
