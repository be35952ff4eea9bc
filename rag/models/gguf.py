"""GGUF files, converted once to safetensors."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from rag.core.errors import ModelError
from rag.core.extras import require
from rag.models.cache import cache_dir
from rag.models.quiet import quiet


def converted(path: Path, dtype: torch.dtype) -> Path:
    """Return a model folder with the weights of a GGUF file, converting it if need be.

    Folders are named by the file's content, so a file that changes is converted again. A folder
    appears whole or not at all; processes that convert the same file at once do no harm.

    Args:
        path: The file.
        dtype: Number format of the converted weights.

    Raises:
        ModelError: The file cannot be read or the folder cannot be written.
    """
    major = transformers.__version__.split(".")[0]
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        kind = str(dtype).removeprefix("torch.")
        folder = cache_dir() / "models" / f"{path.stem}-{content}-{kind}-transformers{major}"
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="partial-", dir=folder.parent) as scratch:
                _convert(path, dtype, Path(scratch) / "model")
                _publish(Path(scratch) / "model", folder)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path}: cannot be converted: {error}; RAG_CACHE names another cache directory"
        ) from error
    return folder


def _convert(path: Path, dtype: torch.dtype, target: Path) -> None:
    require("gguf", extra="local", needed_for="reading GGUF files")
    require("accelerate", extra="local", needed_for="reading GGUF files")
    source: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **source)
            # Dequantised while it is read, or the model could not be saved.
            model = transformers.AutoModelForCausalLM.from_pretrained(
                path.parent,
                dtype=dtype,
                quantization_config=transformers.GgufConfig(dequantize=True),
                **source,
            )
    except Exception as error:  # broken files raise anything at all
        raise ModelError(f"{path}: not a GGUF file that transformers can read: {error}") from error
    with quiet():
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


def _publish(finished: Path, folder: Path) -> None:
    """Move a finished folder to its place, unless another process was faster."""
    for file in finished.iterdir():
        with file.open("rb") as written:
            os.fsync(written.fileno())
    try:
        finished.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
