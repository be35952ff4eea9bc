"""Talking to Milvus: one connection, time limits, and the toolkit's errors."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rag.core.errors import CollectionNotFound, StorageError
from rag.core.extras import require
from rag.indexes.milvus.location import MilvusLocation
from rag.indexes.milvus.schema import pymilvus

grpc = require("grpc", extra="milvus", package="grpcio", needed_for="A collection on Milvus")

TOKEN_VARIABLE = "MILVUS_TOKEN"  # noqa: S105 - a name

_SECONDS = 60.0
_SECONDS_OF_LONG_CALLS = 1800.0
_LONG_CALLS = ("load_collection", "create_collection", "compact")
_LONGEST_REASON = 300
# Its own ten seconds are what gRPC servers, Milvus Lite's among them, hang up on when nothing else
# is sent: "Too many pings".
_CONNECTION = {"grpc.keepalive_time_ms": 300_000, "grpc.keepalive_permit_without_calls": False}

# It logs each error with a stack trace, and the error reaches the caller anyway.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class Connection:
    """A connection to the server of a location; threads can share it.

    Every call has a time limit, within which pymilvus may try again.

    Args:
        location: The location; with Milvus Lite, the server is started in this process.
        create: Whether Milvus Lite may make its directory.

    Raises:
        CollectionNotFound: Milvus Lite has no such directory.
        StorageError: There is no answer.
    """

    def __init__(self, location: MilvusLocation, *, create: bool = False) -> None:
        self.location = location
        lite = location.lite
        with self._errors():
            if lite is not None:
                if not (create or lite.is_dir()):
                    raise CollectionNotFound(
                        str(location), "there is no such directory of Milvus Lite; create it first"
                    )
                lite.parent.mkdir(parents=True, exist_ok=True)
            token = os.environ.get(TOKEN_VARIABLE, "")
            self._client = pymilvus.MilvusClient(
                location.uri, token=token, timeout=_SECONDS, grpc_options=_CONNECTION
            )

    def call(self, method: str, table: str, **arguments: Any) -> Any:
        """Call a method of pymilvus' client on a table of the collection.

        Raises:
            StorageError: Milvus refused or did not answer in time.
        """
        limit = _SECONDS_OF_LONG_CALLS if method in _LONG_CALLS else _SECONDS
        with self._errors():
            return getattr(self._client, method)(self._name(table), timeout=limit, **arguments)

    def iterate(
        self, table: str, expression: str, fields: tuple[str, ...], portion: int
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows that match, in the order of their numbers, in portions.

        Raises:
            StorageError: Milvus refused or did not answer in time.
        """
        rows = self.call(
            "query_iterator",
            table,
            filter=expression,
            output_fields=list(fields),
            batch_size=portion,
        )
        try:
            while True:
                with self._errors():
                    found = rows.next()
                if not found:
                    return
                yield found
        finally:
            rows.close()

    def close(self) -> None:
        """Let the connection go; a second time does nothing."""
        self._client.close()

    def _name(self, table: str) -> str:
        return f"{self.location.name}_{table}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (pymilvus.MilvusException, grpc.RpcError, OSError) as error:
            raise StorageError(
                str(self.location),
                f"Milvus refused or did not answer: {_reason(error)}; see that it runs there, that "
                f"{TOKEN_VARIABLE} holds the token it wants, and that nobody else holds its files",
            ) from error


def _reason(error: Exception) -> str:
    """Return what went wrong in one line, without what only pymilvus' authors can use."""
    if isinstance(error, pymilvus.MilvusException):
        text = str(error.message)
    elif isinstance(error, grpc.RpcError):
        text = str(error.code())
    else:
        text = str(error)
    return " ".join(text.partition("debug=")[0].split())[:_LONGEST_REASON]
