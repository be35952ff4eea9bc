"""Where a collection on Milvus is: `milvus:URI#NAME`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rag.core.errors import InputError

SCHEME = "milvus:"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_EXAMPLE = "write milvus:http://HOST:19530#NAME, or milvus:FOLDER/FILE.db#NAME for Milvus Lite"


@dataclass(frozen=True, slots=True)
class MilvusLocation:
    """A collection on a Milvus server, or in a directory that Milvus Lite serves.

    Args:
        uri: The server's address, or a path that ends in '.db'.
        name: The collection's name there: letters, digits and underscores.
    """

    uri: str
    name: str

    @classmethod
    def parse(cls, location: str) -> Self:
        """Read `milvus:URI#NAME`.

        Raises:
            InputError: It is something else, or holds credentials.
        """
        uri, _, name = location.removeprefix(SCHEME).rpartition("#")
        # Errors, logs and manifests name the location.
        if "@" in uri or "?" in uri:
            raise InputError(
                "a Milvus location holds no credentials; put the token into the environment "
                "variable MILVUS_TOKEN"
            )
        if not (location.startswith(SCHEME) and re.match(r"https?://.|.*\.db$", uri)):
            raise InputError(f"{location!r} is no Milvus location; {_EXAMPLE}")
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} cannot name a collection on Milvus: use up to 200 letters, digits and "
                f"underscores; {_EXAMPLE}"
            )
        return cls(uri, name)

    @property
    def lite(self) -> Path | None:
        """The directory of Milvus Lite; None on a server."""
        return Path(self.uri) if self.uri.endswith(".db") else None

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{SCHEME}{self.uri}#{self.name}"
