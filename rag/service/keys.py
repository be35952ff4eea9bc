"""API keys: who may use the service, and for what."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Literal, get_args

from pydantic import TypeAdapter, ValidationError

from rag.core.errors import InputError
from rag.service.database import Database
from rag.service.settings import Name

Scope = Literal["read", "write", "admin"]
"""What a caller may do: search and ask; change documents; everything."""

SCOPES: tuple[Scope, ...] = get_args(Scope)

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_FRESH = 1.0
"""Seconds for which keys are not read again."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key, without its secret.

    Args:
        id: Names it in logs.
        name: Its name; no other key, revoked ones included, has the same.
        scopes: What it was given; 'admin' has the others in it.
        collections: The collections that it may use, by name in lower case; None for all.
        requests_per_minute: A limit of its own; None for that of the settings.
        tokens_per_day: Tokens, read and written, of a day in UTC; None for no limit.
        created: When it was made, ISO 8601 in UTC.
        revoked: When it was revoked; None if it was not.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    collections: tuple[str, ...] | None
    requests_per_minute: int | None
    tokens_per_day: int | None
    created: str
    revoked: str | None = None


class Keys:
    """Makes, lists, revokes and recognises keys.

    What is stored of a secret is its SHA-256. A slow hash would protect what people think up; a
    secret of 256 random bits cannot be guessed, however fast guesses are checked. For the same
    reason a lookup by hash gives nothing away by the time that it takes: nobody can choose what a
    hash begins with without knowing the secret.

    Keys are kept in memory for a second, so that requests read no database; what other processes
    make and revoke is seen within that time.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_hash: dict[bytes, Key] = {}
        self._read_at = float("-inf")
        self._reading = Lock()

    def create(
        self,
        name: str,
        scopes: Collection[Scope],
        collections: Collection[str] | None = None,
        requests_per_minute: int | None = None,
        tokens_per_day: int | None = None,
    ) -> tuple[Key, str]:
        """Make a key.

        Args:
            name: Its name: 1 to 64 letters, digits, '_' and '-'.
            scopes: What it is for; at least one.
            collections: The collections that it may use, in any case; None for all.
            requests_per_minute: A limit of its own; None for that of the settings.
            tokens_per_day: Tokens of a day in UTC; None for no limit.

        Returns:
            The key, and its secret, which is nowhere else.

        Raises:
            InputError: A value cannot be used, or the name is taken.
            StorageError: The disk refused.
        """
        _check_names((name, *(collections or ())))
        _check_scopes(scopes)
        if collections is not None and not collections:
            raise InputError(f"key '{name}': name a collection, or leave them out for all")
        for limit in (requests_per_minute, tokens_per_day):
            if limit is not None and limit < 1:
                raise InputError(f"key '{name}': a limit of {limit} is not at least 1")
        key = Key(
            id=f"key_{secrets.token_hex(8)}",
            name=name,
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            collections=_in_lower_case(collections),
            requests_per_minute=requests_per_minute,
            tokens_per_day=tokens_per_day,
            created=_now(),
        )
        secret = f"rag_{secrets.token_urlsafe(32)}"
        self._insert(key, _hash(secret))
        return key, secret

    def list(self) -> tuple[Key, ...]:
        """Return all keys, the oldest first, revoked ones included."""
        return tuple(_key(row) for row in self._rows())

    def revoke(self, name: str) -> None:
        """Refuse a key from now on; its name stays taken. A second time changes nothing.

        Raises:
            InputError: There is no key of that name.
            StorageError: The disk refused.
        """
        with self._database.write() as connection:
            changed = connection.execute(
                "UPDATE keys SET revoked = coalesce(revoked, ?) WHERE name = ?", (_now(), name)
            ).rowcount
        if not changed:
            raise InputError(f"there is no key '{name}'; `rag keys list` shows those there are")
        self._read_at = float("-inf")

    def exist(self) -> bool:
        """Return whether requests need a key: whether one was ever made.

        Revoking the last one opens the service to nobody.
        """
        self.refresh()
        return bool(self._by_hash)

    def authenticate(self, secret: str) -> Key | None:
        """Return the key of a secret; None if there is none, or it was revoked."""
        self.refresh()
        key = self._by_hash.get(_hash(secret))
        return key if key and not key.revoked else None

    @property
    def fresh(self) -> bool:
        """Whether `exist` and `authenticate` answer from memory just now."""
        return time.monotonic() - self._read_at < _FRESH

    def refresh(self) -> None:
        """Read the keys again if that was not done for a second."""
        if self.fresh:
            return
        with self._reading:
            if not self.fresh:
                read_at = time.monotonic()
                self._by_hash = {row["hash"]: _key(row) for row in self._rows()}
                self._read_at = read_at

    def _rows(self) -> Sequence[sqlite3.Row]:
        with self._database.read() as connection:
            return connection.execute("SELECT * FROM keys ORDER BY created, rowid").fetchall()

    def _insert(self, key: Key, hashed: bytes) -> None:
        try:
            with self._database.write() as connection:
                connection.execute(
                    "INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        key.id,
                        key.name,
                        hashed,
                        json.dumps(key.scopes),
                        None if key.collections is None else json.dumps(key.collections),
                        key.requests_per_minute,
                        key.tokens_per_day,
                        key.created,
                        key.revoked,
                    ),
                )
        except sqlite3.IntegrityError as error:
            raise InputError(
                f"there is a key '{key.name}' already, or was; choose another name"
            ) from error
        self._read_at = float("-inf")


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _key(row: sqlite3.Row) -> Key:
    return Key(
        id=row["id"],
        name=row["name"],
        scopes=tuple(json.loads(row["scopes"])),
        collections=None if row["collections"] is None else tuple(json.loads(row["collections"])),
        requests_per_minute=row["requests_per_minute"],
        tokens_per_day=row["tokens_per_day"],
        created=row["created"],
        revoked=row["revoked"],
    )


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        try:
            _NAME.validate_python(name)
        except ValidationError as error:
            raise InputError(
                f"{name!r} is not a name: 1 to 64 letters, digits, '_' and '-', the first of them "
                "a letter or a digit"
            ) from error


def _check_scopes(scopes: Collection[str]) -> None:
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise InputError(f"scopes {sorted(scopes)}: give one or more of {', '.join(SCOPES)}")


def _in_lower_case(collections: Collection[str] | None) -> tuple[str, ...] | None:
    return None if collections is None else tuple(sorted({each.casefold() for each in collections}))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
