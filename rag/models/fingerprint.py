"""What tells one version of a model from another."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rag.core.errors import ModelError

_SAMPLES = 64
_SAMPLE_BYTES = 4096


def fingerprint(folder: Path) -> str:
    """Return a short hash of a model folder, the same wherever the folder is.

    Configuration, tokenizer and chat template count in full; weights by size and by samples
    spread over each file, so that a model of any size takes milliseconds.

    Raises:
        ModelError: There are no weights in safetensors format.
    """
    weights = sorted(folder.rglob("*.safetensors"))
    if not weights:
        raise ModelError(f"{folder}: no weights in safetensors format")
    digest = hashlib.sha256()
    for file in sorted({*folder.glob("*.json"), *folder.glob("*.jinja"), *folder.glob("*.model")}):
        digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    for file in weights:
        size = file.stat().st_size
        digest.update(f"{file.name} {size} ".encode())
        with file.open("rb") as opened:
            for sample in range(_SAMPLES):
                opened.seek(size * sample // _SAMPLES)
                digest.update(opened.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:12]
