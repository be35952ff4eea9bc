"""A Milvus server in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def milvus_lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The location of Milvus Lite, to which '#NAME' is to be added."""
    from milvus_lite.server_manager import server_manager_instance

    path: Path = tmp_path_factory.mktemp("milvus") / "lite.db"
    yield f"milvus:{path}"
    server_manager_instance.release_server(str(path))
