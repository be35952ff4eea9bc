"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path
from uuid import uuid4

_PARTIAL = ".partial-"
_ABANDONED = 3600.0
"""Seconds without a change after which nobody is writing a partial file any more."""


def replace_file(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Write a file so that others see the one before or this one.

    Args:
        path: The file; its folder is made if it is not there.
        content: What it shall hold.
        sync: Whether that holds after a power loss, too.

    Raises:
        OSError: The disk refused; what was at `path` before is as it was.
    """
    partial = path.with_name(f"{path.name}{_PARTIAL}{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def leftovers(folder: Path) -> list[Path]:
    """Return the partial files below a folder whose writers were ended before they were done."""
    found = []
    for path in folder.rglob(f"*{_PARTIAL}*"):
        try:
            if time.time() - path.stat().st_mtime > _ABANDONED:
                found.append(path)
        except FileNotFoundError:
            continue  # done meanwhile
    return found
