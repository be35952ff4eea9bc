"""Bytes of a page to text."""

from __future__ import annotations

import codecs
import re

from rag.text.encoding import decode

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# Those that browsers know; others, such as UTF-7, would hide text from whoever looks at the page.
_KNOWN = re.compile(
    r"utf-8|utf-16(?:-[lb]e)?|ascii|iso8859-\d+|tis-620|cp(?:125\d|866|874|932|949)|koi8-[rtu]|"
    r"mac-(?:roman|cyrillic)|gb(?:2312|k|18030)|big5(?:hkscs)?|euc_jp|euc_kr|iso2022_jp|shift_jis"
)
# Names that pages use for more than the encodings that bear them (WHATWG Encoding Standard, 4.2).
_MEANT = {
    "ascii": "windows-1252",
    "iso8859-1": "windows-1252",
    "iso8859-9": "windows-1254",
    "iso8859-11": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}
# A page of UTF-8 that is broken in some places, such as where it was cut, is still one.
_BROKEN = 0.1


def decode_page(data: bytes, *, header: str = "", declared: str = "") -> str:
    """Decode a page as browsers do, save that an encoding that does not fit is passed over.

    Tried in turn: a byte order mark, the encoding of the HTTP header, the one that the page names,
    UTF-8, and what charset-normalizer takes it for. No page is too broken: what cannot be decoded
    becomes U+FFFD. NUL goes.

    Args:
        data: The bytes.
        header: The encoding that the HTTP header names, if it does.
        declared: The encoding that the page names, if it does.
    """
    return _decode(data, header, declared).replace("\x00", "")


def _decode(data: bytes, header: str, declared: str) -> str:
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    named = [encoding for name in (header, declared) if (encoding := _meant(name))]
    for encoding in [*named, "utf-8"]:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    text = data.decode("utf-8", "replace")
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    if text.count("\ufffd") <= _BROKEN * beyond_ascii:
        return text
    for encoding in named:
        if encoding != "utf-8":
            return data.decode(encoding, "replace")
    try:
        return decode(data.replace(b"\x00", b""))
    except ValueError:
        return data.decode("windows-1252", "replace")


def _meant(name: str) -> str:
    """Return the encoding of Python that a page's name of one means; '' where there is none."""
    try:
        known = codecs.lookup(name).name
    except (LookupError, ValueError):
        return ""
    return _MEANT.get(known, known) if _KNOWN.fullmatch(known) else ""
