"""Bytes to text."""

from __future__ import annotations

import codecs
import re

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# No encoding of a byte a character, and none of East Asia, has them in text. DOS ends files with
# \x1a, and \x1b switches character sets.
_NO_TEXT = re.compile(rb"[\x00-\x06\x0e-\x19\x1c-\x1f]")
# Detection looks at this much; the whole is then decoded with what it found.
_SAMPLE_BYTES = 256 * 1024


def decode(data: bytes, declared: str | None = None) -> str:
    """Decode text of unknown encoding.

    Tried in turn: a byte order mark, the declared encoding, UTF-8, and what charset-normalizer
    takes it for.

    Args:
        data: The bytes.
        declared: The encoding that the text itself names, if it does.

    Raises:
        ValueError: The bytes are not text in any encoding known.
    """
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding)
    if is_binary(data):
        raise ValueError("binary data, not text")
    for encoding in filter(None, (declared, "utf-8")):
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    if _NO_TEXT.search(data):
        raise ValueError("binary data, not text")
    return data.decode(_detect(data), errors="replace")


def is_binary(data: bytes) -> bool:
    """Return whether bytes, or the first ones of many, are surely no text."""
    return b"\x00" in data and not data.startswith(tuple(_MARKS))


def _detect(data: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_SAMPLE_BYTES]).best()
    if best is None:
        raise ValueError("binary data, or text in an unknown encoding")
    return best.encoding
