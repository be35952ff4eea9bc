"""Whether the network is off limits."""

from __future__ import annotations

import os


def offline() -> bool:
    """Say whether RAG_OFFLINE forbids to contact anything but this machine."""
    return os.environ.get("RAG_OFFLINE", "") not in ("", "0")
