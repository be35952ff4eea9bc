"""Embedders that end their process, for workers to load by reference."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from rag.core.errors import InputError
from rag.core.progress import Progress, silent
from rag.core.protocols import Vectors
from rag.testing.embedders import HashEmbedder

POISON = "poison"
REFUSED = "refused"


class FatalEmbedder(HashEmbedder):
    """Kills the first process that embeds, and each that reads poison.

    Args:
        folder: Where the processes leave their marks.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(64)
        self._folder = folder

    def embed_passages(self, texts: Sequence[str], progress: Progress = silent) -> Vectors:
        """Embed passages, if the process lives on."""
        if any(REFUSED in text for text in texts):
            raise InputError("this text is refused")
        deadly = any(POISON in text for text in texts)
        if not deadly and not (self._folder / "killed").exists():
            (self._folder / "killed").touch()
            deadly = True
        if deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed_passages(texts, progress)


class SlowEmbedder(HashEmbedder):
    """Takes a while for each call, and says which process it is in.

    Args:
        folder: Where each process leaves its id.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(64)
        (folder / str(os.getpid())).touch()

    def embed_passages(self, texts: Sequence[str], progress: Progress = silent) -> Vectors:
        """Embed passages."""
        time.sleep(0.2)
        return super().embed_passages(texts, progress)
