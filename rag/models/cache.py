"""Where converted weights are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the environment variable RAG_CACHE, or `ragmeter` in the user's cache directory."""
    if configured := os.environ.get("RAG_CACHE"):
        return Path(configured).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "ragmeter"
