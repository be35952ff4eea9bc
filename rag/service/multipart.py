"""Multipart bodies (RFC 7578), taken apart as they arrive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from rag.service.errors import ApiError


class PartBegins(NamedTuple):
    """A part begins.

    Attributes:
        field: The name of its field.
        filename: The name of its file; None where it is no file.
    """

    field: str
    filename: str | None


class PartEnds(NamedTuple):
    """The part that began last is complete."""


Piece = PartBegins | bytes | PartEnds
"""What a body is made of: bytes are the content of the part that began last."""


class MultipartBody:
    """Takes a body apart; nothing of it is held longer than for a call.

    Args:
        content_type: The header of that name.

    Raises:
        ApiError: The body is not multipart.
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data":
            raise ApiError(
                415, "unsupported_media_type", "send the files as a form: multipart/form-data"
            )
        boundary = options.get(b"boundary")
        if not boundary:
            raise _malformed("its type names no boundary")
        self._pieces: list[Piece] = []
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._begins,
                    "on_part_data": lambda data, start, end: self._pieces.append(data[start:end]),
                    "on_part_end": lambda: self._pieces.append(PartEnds()),
                    "on_end": self._ends,
                },
            )
        except FormParserError as error:
            raise _malformed("its boundary is too long") from error

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Yield what more bytes of the body hold.

        Raises:
            ApiError: They are not what a multipart body may go on with.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed(str(error)) from error
        pieces, self._pieces = self._pieces, []
        yield from pieces

    def finish(self) -> None:
        """Say that there are no more bytes.

        Raises:
            ApiError: The body is not complete.
        """
        if not self._complete:
            raise _malformed("it ends before its last boundary")

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _begins(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._headers = {}
        filename = options.get(b"filename")
        field = options.get(b"name", b"")
        self._pieces.append(
            PartBegins(_decoded(field), None if filename is None else _decoded(filename))
        )

    def _ends(self) -> None:
        self._complete = True


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise _malformed("a name in it is not UTF-8") from error


def _malformed(reason: str) -> ApiError:
    return ApiError(422, "malformed_form", f"the form is malformed: {reason}")
