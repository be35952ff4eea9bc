"""Embedders, language models, and the registry that finds them by name."""

from rag.models.cached_llm import CachedLLM
from rag.models.calibration import Calibration, calibrate
from rag.models.cost_model import CostModel, budget_in_tokens
from rag.models.embedders import SentenceTransformerEmbedder
from rag.models.http import OpenAICompatibleLLM
from rag.models.registry import ModelInfo, available_models, load_embedder, load_llm
from rag.models.transformers_llm import TransformersLLM
from rag.models.vllm_llm import VLLM

__all__ = [
    "VLLM",
    "CachedLLM",
    "Calibration",
    "CostModel",
    "ModelInfo",
    "OpenAICompatibleLLM",
    "SentenceTransformerEmbedder",
    "TransformersLLM",
    "available_models",
    "budget_in_tokens",
    "calibrate",
    "load_embedder",
    "load_llm",
]
