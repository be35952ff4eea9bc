"""Language models behind an OpenAI-compatible HTTP server."""

from rag.models.http.llm import OpenAICompatibleLLM

__all__ = ["OpenAICompatibleLLM"]
