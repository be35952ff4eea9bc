"""Embedders that run in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from rag.core.errors import InputError, ModelError, ModelNotFound
from rag.core.extras import require
from rag.core.progress import Progress, silent
from rag.core.protocols import Vectors

if TYPE_CHECKING:
    from rag.models.sentence_encoder import TokenIds

_DTYPES = ("auto", "float32", "bfloat16", "float16")

# Tokens in a batch, padding included. A CPU's caches like small batches; a GPU wants work.
_BATCH_TOKENS = {"cpu": 512, "cuda": 65_536}

# Below, a batch takes its core about as long as one of this size.
_LEAST_BATCH_TOKENS = 64

# Texts that are tokenized at once; bounds what the tokenizer holds.
_TOKENIZED = 8_192


class SentenceTransformerEmbedder:
    """An embedder in the format of sentence-transformers.

    Texts of similar length run together, identical texts once. A text is never cut: one that is
    longer than the model reads is an error. Several threads may call at once.

    Args:
        path: Folder of the model, with safetensors weights.
        name: Name that the registry resolves to this model; the path by default.
        device: A torch device; 'auto' is a CUDA device where there is one, else the CPU.
        dtype: 'float32', 'bfloat16', 'float16'; 'auto' is the fastest of them on the device that
            keeps the quality. Vectors are float32 always.
        query_prefix: Text put before queries; by default what the model's configuration calls
            the prompt 'query'.
        passage_prefix: Text put before passages; by default the prompt 'document' or 'passage'.
        batch_tokens: Tokens that are computed together, padding included; by default 512 on a
            CPU and 65,536 elsewhere.

    Raises:
        ModelNotFound: There is nothing at the path.
        ModelError: What is there cannot be loaded.
        MissingExtra: The extra `local` is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        path = Path(path)
        self.name = name or str(path)
        if not path.is_dir():
            raise ModelNotFound(self.name, [f"{path} is not a folder"])
        if dtype not in _DTYPES:
            raise InputError(f"dtype '{dtype}' is not one of {', '.join(_DTYPES)}")
        needed_for = "embedding text"
        torch = require("torch", extra="local", needed_for=needed_for)
        require(
            "sentence_transformers",
            extra="local",
            needed_for=needed_for,
            package="sentence-transformers",
        )
        from rag.models.lanes import on_lane
        from rag.models.precision import default_dtype
        from rag.models.sentence_encoder import SentenceEncoder

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        precision = default_dtype(device) if dtype == "auto" else getattr(torch, dtype)
        self._encoder = on_lane(device, SentenceEncoder, path, device, precision)
        self._tokenizer = self._encoder.tokenizer
        self._query_turn = Lock()
        self._batch_tokens = batch_tokens or _BATCH_TOKENS["cpu" if device == "cpu" else "cuda"]

        prompts = self._encoder.prompts
        passage_prompt = prompts.get("document") or prompts.get("passage") or ""
        self.query_prefix = prompts.get("query", "") if query_prefix is None else query_prefix
        self.passage_prefix = passage_prompt if passage_prefix is None else passage_prefix
        self.revision = _weights_hash(path)
        self.max_tokens = self._encoder.max_tokens
        self.pooling = self._encoder.pooling
        self.normalized = self._encoder.normalized
        (probe,) = self._encoder.vectors([self._encode([""])])
        self.dimension = probe.shape[1]

    @property
    def special_tokens(self) -> int:
        """Tokens the model adds around every text."""
        return int(self._tokenizer.num_special_tokens_to_add(False))

    def token_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Return the character range of each token of each text, special tokens left out."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [encoding.offsets for encoding in encodings]

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Embed queries.

        Args:
            texts: The queries, without prefix.

        Returns:
            Vectors of shape (texts, dimension).

        Raises:
            InputError: A query, with its prefix, is longer than `max_tokens`.
        """
        # Callers that share the cores finish together, late; in turn, the first goes on early.
        with self._query_turn:
            return self._embed("query", self.query_prefix, texts, silent)

    def embed_passages(self, texts: Sequence[str], progress: Progress = silent) -> Vectors:
        """Embed passages.

        Args:
            texts: The passages, without prefix.
            progress: Told of distinct texts embedded, as the stage 'embedding'.

        Returns:
            Vectors of shape (texts, dimension).

        Raises:
            InputError: A passage, with its prefix, is longer than `max_tokens`; nothing was
                embedded.
        """
        return self._embed("passage", self.passage_prefix, texts, progress)

    def _embed(self, kind: str, prefix: str, texts: Sequence[str], progress: Progress) -> Vectors:
        row_of: dict[str, int] = {}
        rows = [row_of.setdefault(text, len(row_of)) for text in texts]
        encoded = self._encode([prefix + text for text in row_of])
        for row, ids in enumerate(encoded):
            if len(ids) > self.max_tokens:
                raise InputError(
                    f"{kind} {rows.index(row)} has {len(ids)} tokens but {self.name} reads "
                    f"{self.max_tokens}; shorten it or split it"
                )
        vectors = np.empty((len(encoded), self.dimension), np.float32)
        done = 0
        batches = list(self._batches(encoded))
        computed = self._encoder.vectors([[encoded[row] for row in batch] for batch in batches])
        for batch, found in zip(batches, computed, strict=True):
            vectors[batch] = found
            done += len(batch)
            progress("embedding", done, len(encoded))
        return vectors if len(row_of) == len(rows) else vectors[rows]

    def _encode(self, texts: Sequence[str]) -> list[TokenIds]:
        encoded: list[TokenIds] = []
        for start in range(0, len(texts), _TOKENIZED):
            encodings = self._tokenizer.encode_batch_fast(texts[start : start + _TOKENIZED])
            encoded += [np.array(encoding.ids, np.int32) for encoding in encodings]
        return encoded

    def _batches(self, encoded: Sequence[TokenIds]) -> Iterator[list[int]]:
        """Yield the rows of each batch, longest texts first: what remains only gets faster."""
        room = self._room(encoded)
        batch: list[int] = []
        for row in sorted(range(len(encoded)), key=lambda row: len(encoded[row]), reverse=True):
            if batch and (len(batch) + 1) * len(encoded[batch[0]]) > room:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _room(self, encoded: Sequence[TokenIds]) -> int:
        """Return the tokens of a batch: so few that a handful of texts keeps all cores busy.

        Two batches for each core level out what one core has more of than another, and pad less.
        """
        cores = self._encoder.cores
        if cores == 1:
            return self._batch_tokens
        share = sum(map(len, encoded)) // (2 * cores)
        return min(self._batch_tokens, max(_LEAST_BATCH_TOKENS, share))


def _weights_hash(folder: Path) -> str:
    """Return a short hash of a model's weights, the same wherever the folder is."""
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder}: no weights in safetensors format")
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:12]
