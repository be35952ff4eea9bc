"""What a file is, as its first bytes show."""

from __future__ import annotations

import re
import zipfile
from typing import BinaryIO

HEAD = 1024
"""Bytes that are looked at."""

_ARCHIVE = re.compile(
    rb"""PK(?:\x05\x06|\x07\x08)                # zip: empty, spanned
    | \x1f[\x8b\x9d]                          # gzip, compress
    | BZh[1-9](?:1AY&SY|\x17rE8P\x90)          # bzip2
    | \xfd7zXZ\x00 | LZIP[\x00\x01]           # xz, lzip
    | \x28\xb5\x2f\xfd | \x04\x22\x4d\x18    # zstd, lz4
    | 7z\xbc\xaf\x27\x1c | Rar!\x1a\x07       # 7z, rar
    | MSCF\x00 | !<arch>\n | 07070[17]        # cab, ar, cpio
    | .{257}ustar                            # tar""",
    re.DOTALL | re.VERBOSE,
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BLANK = b"\xef\xbb\xbf \t\r\n"


def sniff(file: BinaryIO) -> str | None:
    """Return the format that content shows, whatever the file is called.

    Args:
        file: The file, at its beginning; it is left anywhere.

    Returns:
        'pdf', 'docx' or 'html'; None for all that shows nothing, such as text.

    Raises:
        ValueError: It is an archive, or an Office file that is not read.
    """
    raw = file.read(HEAD)
    head = raw.lstrip(_BLANK)
    if head.startswith(b"%PDF-"):
        return "pdf"
    if head.startswith(_OLE):
        raise ValueError("a password-protected or pre-2007 Office file; save it as plain DOCX")
    if head.startswith(b"PK\x03\x04"):
        if _is_docx(file):
            return "docx"
        raise ValueError("an archive that is no DOCX; unpack it first")
    if _ARCHIVE.match(raw):
        raise ValueError("an archive; unpack it first")
    if head[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    return None


def _is_docx(file: BinaryIO) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return "word/document.xml" in archive.namelist()
    except zipfile.BadZipFile as error:
        raise ValueError(f"broken archive: {error}") from error
