"""What a file says, before it has a name."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from rag.core.documents import Scalar

# Control characters carry no text, and NUL and lone surrogates cannot be stored everywhere.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_BREAK = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")


class Content(NamedTuple):
    """Text and facts read from one file.

    Attributes:
        text: The text; Markdown where the format has structure.
        title: Its title, '' where it states none.
        metadata: What the file says of itself; always with `format`.
    """

    text: str
    title: str
    metadata: dict[str, Scalar | list[Scalar]]


def normalize(text: str) -> str:
    r"""Bring text into the one form that is stored and that offsets count in.

    Line breaks become `\n`, control characters go, lone surrogates become U+FFFD, and
    characters are composed (Unicode NFC), so that equal-looking words are equal.
    """
    text = _SURROGATE.sub("\ufffd", _CONTROL.sub("", _LINE_BREAK.sub("\n", text)))
    return unicodedata.normalize("NFC", text)
