"""The public names of each package; a name that comes or goes is a decision, made here."""

import importlib
import tomllib
from pathlib import Path

import pytest

import rag

PUBLIC = {
    "rag": [
        "Answer",
        "AsyncEngine",
        "Budget",
        "BudgetExhausted",
        "Citation",
        "Collection",
        "DenseRetriever",
        "Document",
        "Engine",
        "ExtractiveRead",
        "Hit",
        "HybridRetriever",
        "LexicalRetriever",
        "Passage",
        "Prompt",
        "RagError",
        "RetrieveAndRead",
        "Sampling",
        "Usage",
        "load_embedder",
        "load_llm",
        "read_documents",
    ],
    "rag.core": [
        "Allowance",
        "Answer",
        "AsyncEngine",
        "BatchError",
        "Budget",
        "BudgetExhausted",
        "CallFailed",
        "Cancelled",
        "Capability",
        "Citation",
        "CollectionCorrupt",
        "CollectionError",
        "CollectionExists",
        "CollectionLocked",
        "CollectionNotFound",
        "ContextOverflow",
        "ContinuationScore",
        "CountTokens",
        "DataError",
        "Document",
        "Embedder",
        "Engine",
        "Event",
        "FilterError",
        "Finished",
        "Generate",
        "Hit",
        "InputError",
        "LLM",
        "LeafOp",
        "Limited",
        "LoadError",
        "ManifestMismatch",
        "Metadata",
        "Meter",
        "MissingExtra",
        "ModelCall",
        "ModelError",
        "ModelNotFound",
        "NextToken",
        "NextTokenScores",
        "Op",
        "Outcome",
        "Passage",
        "Prices",
        "Program",
        "ProgramError",
        "Progress",
        "Prompt",
        "RagError",
        "Remaining",
        "Reply",
        "Reservation",
        "Retriever",
        "Sampling",
        "Scalar",
        "Score",
        "Search",
        "SearchFailed",
        "Started",
        "StorageError",
        "TextDelta",
        "TokenLogprob",
        "Unsupported",
        "Usage",
        "Vectors",
        "Where",
        "matches",
        "parse_where",
        "together",
    ],
    "rag.evaluation": [
        "AnswerReport",
        "Comparison",
        "Metric",
        "Query",
        "RankedDocument",
        "RetrievalDataset",
        "RetrievalReport",
        "Run",
        "compare",
        "evaluate_answers",
        "evaluate_retrieval",
        "read_dataset",
    ],
    "rag.indexes": [
        "AddReport",
        "Collection",
        "CollectionInfo",
        "DocumentInfo",
        "Manifest",
        "VectorHits",
        "VectorIndex",
        "create_index",
        "load_index",
    ],
    "rag.models": [
        "CachedLLM",
        "Calibration",
        "CostModel",
        "ModelInfo",
        "OpenAICompatibleLLM",
        "SentenceTransformerEmbedder",
        "TransformersLLM",
        "VLLM",
        "available_models",
        "budget_in_tokens",
        "calibrate",
        "load_embedder",
        "load_llm",
    ],
    "rag.pipelines": [
        "ExtractiveRead",
        "Pipeline",
        "RetrieveAndRead",
        "Template",
        "load_template",
        "metered",
        "templates",
    ],
    "rag.rerankers": [],
    "rag.retrievers": [
        "DenseRetriever",
        "Fusion",
        "HybridRetriever",
        "LexicalRetriever",
        "reciprocal_rank_fusion",
        "weighted_fusion",
    ],
    "rag.testing": [
        "EchoLLM",
        "FixedRetriever",
        "HashEmbedder",
        "ScriptedLLM",
    ],
    "rag.text": [
        "FoundFile",
        "MAX_BYTES",
        "Skipped",
        "Splitter",
        "find_files",
        "load",
        "read_documents",
    ],
}


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(getattr(module, "__all__", ())) == PUBLIC[package]
    for name in PUBLIC[package]:
        getattr(module, name)


def test_the_lazy_names_are_those_that_are_listed() -> None:
    assert set(rag.__all__) <= set(dir(rag))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rag.nothing  # noqa: B018 - reading it is what raises


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert rag.__version__ == project["version"]
