"""Embedders, language models, and the registry that finds them by name."""

from rag.models.embedders import SentenceTransformerEmbedder
from rag.models.registry import ModelInfo, available_models, load_embedder, load_llm
from rag.models.transformers_llm import TransformersLLM

__all__ = [
    "ModelInfo",
    "SentenceTransformerEmbedder",
    "TransformersLLM",
    "available_models",
    "load_embedder",
    "load_llm",
]
