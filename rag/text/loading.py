"""Files to documents."""

from __future__ import annotations

import io
from pathlib import Path, PurePath

from rag.core.documents import Document
from rag.core.errors import LoadError, MissingExtra
from rag.text.content import Content, normalize
from rag.text.encoding import is_binary
from rag.text.sniffing import HEAD, sniff

MAX_BYTES = 64 * 1024 * 1024
"""Largest file that is read, and most that a compressed one may unpack to, by default."""

FORMATS = {
    "": "text",
    ".adoc": "text",
    ".asciidoc": "text",
    ".org": "text",
    ".rst": "text",
    ".text": "text",
    ".txt": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdown": "markdown",
    ".htm": "html",
    ".html": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
}
"""Formats by file suffix."""


def load(
    path: Path,
    *,
    document_id: str | None = None,
    name: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> Document:
    """Read a file as a document.

    The format follows from the suffix, unless the content shows that the suffix lies. A file
    of unknown suffix is read as plain text if it is text. HTML and DOCX become Markdown.

    Args:
        path: The file.
        document_id: The document's id; by default the path as given.
        name: What the file is called, where that is not how its path ends.
        max_bytes: Largest file that is read, and most that a compressed one may unpack to.

    Returns:
        The document. Its metadata have `format` ('text', 'markdown', 'html', 'pdf' or 'docx')
        and what the file states: `language`, `date`, `pages`, front matter. A file without a
        title is titled by its name.

    Raises:
        LoadError: The file cannot be read, is broken, protected, too large, has no text in it
            or is not text.
        MissingExtra: The package that reads the format is not installed.
    """
    called = PurePath(name or path)
    try:
        content = _read(_bytes(path, max_bytes), called.suffix.lower(), max_bytes)
    except MissingExtra:
        raise
    except OSError as error:
        raise LoadError(str(path), error.strerror or str(error)) from error
    except ValueError as error:
        raise LoadError(str(path), str(error)) from error
    except RecursionError as error:
        raise LoadError(str(path), "nested too deeply") from error
    except Exception as error:  # on a broken file parsers raise what they like
        raise LoadError(str(path), f"broken file: {type(error).__name__}: {error}") from error
    text = normalize(content.text)
    if not text.strip():
        raise LoadError(str(path), "no text in it")
    title = " ".join(normalize(content.title).split())
    return Document(
        id=path.as_posix() if document_id is None else document_id,
        text=text,
        title=title or normalize(called.stem),
        uri=path.resolve().as_uri(),
        metadata=content.metadata,
    )


def _bytes(path: Path, max_bytes: int) -> bytes:
    if path.exists() and not path.is_file():
        raise ValueError("not a regular file")
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"larger than the limit of {max_bytes:,} bytes")
    return data


def _read(data: bytes, suffix: str, max_bytes: int) -> Content:
    # The parsers load what they stand on; a run imports only those that it needs.
    match _format(data, suffix):
        case "pdf":
            from rag.text.pdf import read_pdf

            return read_pdf(data)
        case "docx":
            from rag.text.docx import read_docx

            return read_docx(data, max_bytes)
        case "html":
            from rag.text.html import read_html

            return read_html(data)
        case "markdown":
            from rag.text.markdown import read_markdown

            return read_markdown(data)
        case _:
            from rag.text.plain import read_plain

            return read_plain(data)


def _format(data: bytes, suffix: str) -> str:
    """Return the format that content and suffix show.

    Raises:
        ValueError: The content is of a known format that is not read.
    """
    named = FORMATS.get(suffix, "text")
    shown = sniff(io.BytesIO(data))
    if shown in ("pdf", "docx"):
        return shown
    if named in ("pdf", "docx"):
        raise ValueError(f"broken, or not a {named.upper()} file")
    return shown or named if named == "text" else named


def check_format(path: Path, name: str) -> None:
    """Refuse a file whose content is not what its name says.

    What has no suffix may be anything that is read. Only the beginning is looked at, so a file
    that passes may still be broken.

    Args:
        path: The file.
        name: What it is called.

    Raises:
        LoadError: Its suffix is unknown, its content is of another format or binary, or it is an
            archive.
        OSError: It cannot be read.
    """
    suffix = PurePath(name).suffix.lower()
    named = FORMATS.get(suffix)
    if named is None:
        raise LoadError(
            name, f"unknown format '{suffix}'; there are {' '.join(filter(None, FORMATS))}"
        )
    try:
        with path.open("rb") as file:
            shown = sniff(file)
            file.seek(0)
            head = file.read(HEAD)
    except ValueError as error:
        raise LoadError(name, str(error)) from error
    if shown is None and named in ("pdf", "docx"):
        raise LoadError(name, f"broken, or not a {named.upper()} file")
    if shown is None and is_binary(head):
        raise LoadError(name, "binary data, not text")
    if suffix and shown not in (None, named):
        raise LoadError(name, f"named '{suffix}', but it is a {shown.upper()} file")
