"""Doubles for tests: models and engines that need no weights and no network.

`LoopbackWeb` and `LoopbackSearXNG` are real servers on this machine, and need uvicorn. The
conformance suites that every backend runs lie beside them and need pytest:
`collection_conformance`, `embedder_conformance`, `llm_conformance`, `reranker_conformance`,
`retriever_conformance`, `search_engine_conformance` and `vector_index_conformance`.
"""

from rag.testing.embedders import HashEmbedder
from rag.testing.llms import EchoLLM, ScriptedLLM
from rag.testing.loopback_web import LoopbackSearXNG, LoopbackWeb, ServedPage
from rag.testing.retrievers import FixedRetriever

__all__ = [
    "EchoLLM",
    "FixedRetriever",
    "HashEmbedder",
    "LoopbackSearXNG",
    "LoopbackWeb",
    "ScriptedLLM",
    "ServedPage",
]
