"""A running service."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.running import RunningService


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningService]:
    """An empty service with a hashing embedder and an echoing model, without keys."""
    with RunningService(tmp_path / "data") as service:
        yield service
