"""How a collection is laid out on Milvus: a table of documents and one of passages."""

from __future__ import annotations

from typing import Any

from rag.core.extras import require
from rag.indexes.analysis import BM25_B, BM25_K1
from rag.indexes.manifest import Manifest
from rag.indexes.vectors import Codes, Kind

pymilvus = require("pymilvus", extra="milvus", needed_for="A collection on Milvus")

DOCUMENTS, PASSAGES = "documents", "passages"

LONGEST_STRING = 65_535
"""Bytes of UTF-8 that one string or one JSON value may have."""
MOST_ELEMENTS = 4_096
"""Elements that one array may have."""

_DIGITS = 32  # of a hash
_CLUSTERS = 1024
_GRAPH = {"M": 32, "efConstruction": 100}
# Codes that Milvus lacks are replaced by the next that are as exact or more.
_INDEXES: dict[tuple[Kind, Codes], tuple[str, dict[str, Any]]] = {
    ("flat", "float32"): ("FLAT", {}),
    ("flat", "float16"): ("FLAT", {}),
    ("flat", "int8"): ("FLAT", {}),
    ("hnsw", "float32"): ("HNSW", _GRAPH),
    ("hnsw", "float16"): ("HNSW_SQ", {**_GRAPH, "sq_type": "FP16"}),
    ("hnsw", "int8"): ("HNSW_SQ", {**_GRAPH, "sq_type": "SQ8"}),
    ("ivf", "float32"): ("IVF_FLAT", {"nlist": _CLUSTERS}),
    ("ivf", "float16"): ("IVF_FLAT", {"nlist": _CLUSTERS}),
    ("ivf", "int8"): ("IVF_SQ8", {"nlist": _CLUSTERS}),
    ("ivf", "pq"): ("IVF_PQ", {"nlist": _CLUSTERS, "nbits": 8}),
}
_EF = 128
_PROBES = 128


def document_table() -> Any:
    """Return the schema of documents."""
    schema = _table()
    schema.add_field("content", pymilvus.DataType.VARCHAR, max_length=_DIGITS)
    schema.add_field("passages", pymilvus.DataType.INT64)
    # Milvus has no tables without a vector.
    schema.add_field("vector", pymilvus.DataType.FLOAT_VECTOR, dim=2)
    return schema


def passage_table(dimension: int) -> Any:
    """Return the schema of passages, whose words Milvus counts for BM25.

    The words are analysed on our side (`rag.indexes.analysis`) and come separated by spaces, so
    that every collection finds the same words, whatever analysers a server has.
    """
    kinds = pymilvus.DataType
    schema = _table()
    schema.add_field("document", kinds.INT64)
    schema.add_field("document_id", kinds.VARCHAR, max_length=LONGEST_STRING)
    schema.add_field("heading", kinds.VARCHAR, max_length=LONGEST_STRING)
    schema.add_field("start", kinds.INT64)
    schema.add_field("end", kinds.INT64)
    schema.add_field("text_hash", kinds.VARCHAR, max_length=_DIGITS)
    schema.add_field("vector", kinds.FLOAT_VECTOR, dim=dimension)
    schema.add_field(
        "words",
        kinds.VARCHAR,
        max_length=LONGEST_STRING,
        enable_analyzer=True,
        analyzer_params={"tokenizer": "standard"},
    )
    schema.add_field("bm25", kinds.SPARSE_FLOAT_VECTOR)
    schema.add_function(
        pymilvus.Function("words_to_bm25", pymilvus.FunctionType.BM25, ["words"], ["bm25"])
    )
    return schema


def _table() -> Any:
    """Return a schema with what documents and passages share.

    `number` orders rows by when they were written; `key` is the hash of the document's id.
    """
    kinds = pymilvus.DataType
    schema = pymilvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("number", kinds.INT64, is_primary=True)
    schema.add_field("key", kinds.VARCHAR, max_length=_DIGITS)
    for name in ("id", "title", "uri"):
        schema.add_field(name, kinds.VARCHAR, max_length=LONGEST_STRING)
    _add_array(schema, "text", LONGEST_STRING)
    _add_array(schema, "facts", _DIGITS)
    schema.add_field("bounds", kinds.JSON)
    schema.add_field("metadata", kinds.JSON)
    return schema


def _add_array(schema: Any, name: str, longest: int) -> None:
    kinds = pymilvus.DataType
    schema.add_field(
        name,
        kinds.ARRAY,
        element_type=kinds.VARCHAR,
        max_capacity=MOST_ELEMENTS,
        max_length=longest,
    )


def document_indexes(*, lite: bool) -> Any:
    """Return the indexes of documents."""
    indexes = _indexes(("key",), lite=lite)
    indexes.add_index("vector", index_type="FLAT", metric_type="L2")
    return indexes


def passage_indexes(manifest: Manifest, *, lite: bool) -> Any:
    """Return the indexes of passages."""
    kind, parameters = _INDEXES[manifest.index, manifest.codes]
    if manifest.codes == "pq":
        # Two numbers a byte, as FAISS gets them, where the dimension is even.
        dimension = manifest.embedder.dimension
        parameters = {**parameters, "m": dimension // 2 if dimension % 2 == 0 else 1}
    indexes = _indexes(("key", "document", "text_hash"), lite=lite)
    indexes.add_index("vector", index_type=kind, metric_type="IP", params=parameters)
    indexes.add_index(
        "bm25",
        index_type="SPARSE_INVERTED_INDEX",
        metric_type="BM25",
        params={"bm25_k1": BM25_K1, "bm25_b": BM25_B},
    )
    return indexes


def _indexes(fields: tuple[str, ...], *, lite: bool) -> Any:
    indexes = pymilvus.MilvusClient.prepare_index_params()
    for name in fields if lite else (*fields, "facts"):  # Milvus Lite indexes no arrays
        indexes.add_index(name, index_type="INVERTED")
    return indexes


def dense_parameters(manifest: Manifest, top_k: int) -> dict[str, Any]:
    """Return how far a search by vectors goes."""
    settings = {"flat": {}, "hnsw": {"ef": max(_EF, top_k)}, "ivf": {"nprobe": _PROBES}}
    return {"metric_type": "IP", "params": settings[manifest.index]}


LEXICAL_PARAMETERS: dict[str, Any] = {"metric_type": "BM25", "params": {}}
