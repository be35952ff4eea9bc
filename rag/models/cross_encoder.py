"""Cross-encoders: models that read a query and a passage together and score the pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.core.errors import BatchError, InputError, ModelError, ModelNotFound
from rag.core.extras import require
from rag.core.generation import ModelCall

if TYPE_CHECKING:
    import torch

_DTYPES = ("auto", "float32", "bfloat16", "float16")

# Tokens in a batch, padding included. A CPU's caches like small batches; a GPU wants work.
_BATCH_TOKENS = {"cpu": 1024, "cuda": 65_536}


@dataclass(frozen=True, slots=True)
class PairScore(ModelCall):
    """How relevant a cross-encoder finds a passage to a query.

    Args:
        score: The model's logit; higher is more relevant.
        cut: Whether only the beginning of the passage was read.
    """

    score: float
    cut: bool = False


@dataclass(frozen=True, slots=True)
class _Tokens:
    """A pair as the model reads it: token ids, and of each the part that it belongs to."""

    ids: list[int]
    types: list[int]
    cut: bool = False


class CrossEncoder:
    """A cross-encoder in the format of sentence-transformers.

    Scores are logits, whatever activation the model's configuration names: a sigmoid would round
    the best ones to the same 1. A passage that does not fit is read as far as it does, a query
    never cut. Pairs of similar length run together. Several threads may call at once.

    Args:
        model: Folder of the model, with safetensors weights, or its name on the Hugging Face hub.
        offline: Whether to stay off the network; by default as RAG_OFFLINE says.
        device: A torch device; 'auto' is a CUDA device where there is one, else the CPU.
        dtype: Number format of matrix products: 'float32', 'bfloat16', 'float16'; 'auto' is the
            fastest of them on the device that keeps the quality. The layers that scores come from
            run in float32 always, or many scores would be the same.
        max_tokens: Tokens of a pair at most, special tokens included; by default as many as the
            model reads.
        batch_tokens: Tokens that are computed together, padding included; by default 1,024 on a
            CPU and 65,536 elsewhere.

    Attributes:
        name: The model as it was named.
        revision: Version of its weights and number format.

    Raises:
        ModelNotFound: There is no such model.
        ModelError: What is there cannot be loaded, or is no cross-encoder.
        InputError: `dtype` is unknown, or `max_tokens` more than the model reads.
        MissingExtra: The extra `local` is not installed.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        offline: bool | None = None,
        device: str = "auto",
        dtype: str = "auto",
        max_tokens: int | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        self.name = str(model)
        if dtype not in _DTYPES:
            raise InputError(f"dtype '{dtype}' is not one of {', '.join(_DTYPES)}")
        needed_for = "running a cross-encoder"
        torch = require("torch", extra="local", needed_for=needed_for)
        package = "sentence-transformers"
        require("sentence_transformers", extra="local", needed_for=needed_for, package=package)
        from rag.models.fingerprint import fingerprint
        from rag.models.lanes import on_lane
        from rag.models.precision import default_dtype
        from rag.models.registry import resolve

        folder = resolve(self.name, "cross-encoder", offline)
        if not folder.is_dir():
            raise ModelNotFound(self.name, [f"{folder} is not a folder"])
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = device
        self._dtype = default_dtype(device) if dtype == "auto" else getattr(torch, dtype)
        self.revision = f"{fingerprint(folder)}-{str(self._dtype).removeprefix('torch.')}"
        self._model = on_lane(device, _load, folder, device)
        reads = int(self._model.max_seq_length)
        if max_tokens is not None and max_tokens > reads:
            raise InputError(f"max_tokens is {max_tokens} but {self.name} reads {reads}")
        self.max_tokens = max_tokens or reads
        self._batch_tokens = batch_tokens or _BATCH_TOKENS["cpu" if device == "cpu" else "cuda"]
        tokenizer = self._model.tokenizer
        self._padding = int(tokenizer.pad_token_id or 0)
        self._typed = "token_type_ids" in tokenizer.model_input_names
        # The tokenizer of the Rust library, left to neither truncate nor pad.
        self._tokenizer = tokenizer.backend_tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count_tokens(self, pairs: Sequence[tuple[str, str]]) -> list[int]:
        """Return the tokens of each pair of query and passage, as the model reads them."""
        return [min(len(encoding.ids), self.max_tokens) for encoding in self._encode(pairs)]

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[PairScore]:
        """Return the score of each pair of query and passage.

        Raises:
            InputError: The query of the only pair leaves no room for its passage.
            BatchError: Those of some of several pairs do; the others' scores are inside.
        """
        from rag.models.lanes import on_lane

        read = [self._read(encoding) for encoding in self._encode(pairs)]
        results: list[Any] = list(read)
        for rows in self._batches(read):
            batch = [results[row] for row in rows]
            for row, score in zip(rows, on_lane(self._device, self._scores, batch), strict=True):
                tokens = results[row]
                results[row] = PairScore(score, tokens.cut, input_tokens=len(tokens.ids))
        failures = [result for result in results if isinstance(result, InputError)]
        if failures:
            raise failures[0] if len(results) == 1 else BatchError(results)
        return results

    def _encode(self, pairs: Sequence[tuple[str, str]]) -> list[Any]:
        # Unpaired surrogates, which no tokenizer reads, become question marks.
        texts = [tuple(text.encode(errors="replace").decode() for text in pair) for pair in pairs]
        encodings: list[Any] = self._tokenizer.encode_batch(texts)
        return encodings

    def _read(self, encoding: Any) -> _Tokens | InputError:
        """Cut the passage of a pair to what the model reads."""
        ids, types = encoding.ids, encoding.type_ids
        excess = len(ids) - self.max_tokens
        if excess <= 0:
            return _Tokens(ids, types)
        passage = [place for place, part in enumerate(encoding.sequence_ids) if part == 1]
        if excess >= len(passage):
            return InputError(
                f"a query has {encoding.sequence_ids.count(0)} tokens, which leave no room for a "
                f"passage in the {self.max_tokens} that {self.name} reads; shorten it"
            )
        first, end = passage[-excess], passage[-1] + 1
        return _Tokens(ids[:first] + ids[end:], types[:first] + types[end:], cut=True)

    def _batches(self, read: Sequence[_Tokens | InputError]) -> Iterator[list[int]]:
        """Yield the rows of each batch, longest pairs first, so that memory runs out at once."""
        lengths = {row: len(each.ids) for row, each in enumerate(read) if isinstance(each, _Tokens)}
        batch: list[int] = []
        for row in sorted(lengths, key=lambda row: -lengths[row]):
            if batch and (len(batch) + 1) * lengths[batch[0]] > self._batch_tokens:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _scores(self, batch: Sequence[_Tokens]) -> list[float]:
        import torch

        longest = max(len(pair.ids) for pair in batch)

        def padded(rows: Iterable[list[int]], padding: int) -> torch.Tensor:
            filled = [row + [padding] * (longest - len(row)) for row in rows]
            return torch.tensor(filled, device=self._device)

        features = {
            "input_ids": padded((pair.ids for pair in batch), self._padding),
            "attention_mask": padded(([1] * len(pair.ids) for pair in batch), 0),
        }
        if self._typed:
            features["token_type_ids"] = padded((pair.types for pair in batch), 0)
        reduced = self._dtype != torch.float32
        kind = torch.device(self._device).type
        with torch.inference_mode(), torch.autocast(kind, self._dtype, enabled=reduced):
            scores = self._model(features)["scores"]
        logits: list[float] = scores.float().squeeze(-1).tolist()
        return logits


def _load(folder: Path, device: str) -> Any:
    """Load a model of sentence-transformers, in float32.

    Raises:
        ModelError: The folder holds no cross-encoder, or one that cannot be run as it is meant to.
    """
    from sentence_transformers import CrossEncoder as Model

    from rag.models.sentence_encoder import load_safely

    model = load_safely(Model, folder, device)
    if "message" in model.modalities or "LogitScore" in {type(each).__name__ for each in model}:
        raise ModelError(f"{folder}: asks a chat or language model, for which there is YesNo")
    if model.num_labels != 1:
        raise ModelError(f"{folder}: gives {model.num_labels} scores, not one")
    if model.default_prompt_name or not model.tokenizer.is_fast:
        raise ModelError(f"{folder}: needs a prompt or a slow tokenizer, which is not supported")
    model.float().eval().set_keep_in_fp32_modules(_heads(folder, model))
    return model


def _heads(folder: Path, model: Any) -> list[str]:
    """Return the names of the layers that scores come from, after the transformer's own.

    Raises:
        ModelError: The folder lacks weights of one; they would have been drawn at random.
    """
    import torch
    from safetensors import safe_open

    stored: set[str] = set()
    for file in folder.rglob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            stored.update(opened.keys())
    transformer = model.transformers_model
    own = set(transformer.base_model.modules())

    def heads(part: Any) -> list[str]:
        return [
            name
            for name, module in part.named_modules()
            if type(module) is torch.nn.Linear and module not in own
        ]

    for name in heads(transformer):
        if f"{name}.weight" not in stored:
            raise ModelError(f"{folder}: not a cross-encoder: it has no weights of '{name}'")
    return heads(model)
