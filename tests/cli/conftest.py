"""Commands load their models anew in each process; here they share them."""

import functools
from collections.abc import Iterator

import pytest

from rag.models import registry


@pytest.fixture(scope="package", autouse=True)
def loaded_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("load_embedder", "load_llm"):
            patch.setattr(registry, name, functools.cache(getattr(registry, name)))
        yield
