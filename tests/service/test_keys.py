"""Keys are made, recognised and revoked; of their secrets only hashes are kept."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from rag.core.errors import InputError
from rag.service import keys as keys_module
from rag.service.database import Database
from rag.service.keys import Keys


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "service.sqlite")


@pytest.fixture
def keys(database: Database) -> Keys:
    return Keys(database)


def test_a_key_is_recognised_by_its_secret_until_it_is_revoked(keys: Keys) -> None:
    assert not keys.exist()
    key, secret = keys.create("alice", ["write", "read"], ["Handbook"], 60, 1000)
    assert key.scopes == ("read", "write")
    assert key.collections == ("handbook",)
    assert keys.exist()
    assert keys.authenticate(secret) == key
    assert keys.list() == (key,)
    keys.revoke("alice")
    assert keys.authenticate(secret) is None
    (revoked,) = keys.list()
    assert revoked.revoked
    keys.revoke("alice")
    assert keys.list() == (revoked,)


def test_a_service_whose_last_key_is_revoked_still_needs_one(keys: Keys) -> None:
    keys.create("alice", ["admin"])
    keys.revoke("alice")
    assert keys.exist()


def test_what_is_nearly_a_secret_or_what_is_stored_is_none(keys: Keys, database: Database) -> None:
    _, secret = keys.create("alice", ["read"])
    with database.read() as connection:
        (stored,) = connection.execute("SELECT hash FROM keys").fetchone()
    for wrong in (
        "",
        "rag_",
        secret[:-1],
        secret + "x",
        secret.upper(),
        f" {secret}",
        stored.hex(),
    ):
        assert keys.authenticate(wrong) is None


def test_secrets_are_long_and_different_and_not_in_the_file(
    keys: Keys, database: Database, tmp_path: Path
) -> None:
    made = [keys.create(f"key-{number}", ["read"]) for number in range(20)]
    secrets = {secret for _, secret in made}
    assert len(secrets) == 20
    assert all(secret.startswith("rag_") and len(secret) == 47 for secret in secrets)
    for file in tmp_path.iterdir():
        stored = file.read_bytes()
        assert not any(secret.removeprefix("rag_").encode() in stored for secret in secrets)
    assert not any(secret in repr(made[0][0]) for secret in secrets)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a b", ["read"]), "'a b' is not a name"),
        (("", ["read"]), "'' is not a name"),
        (("a", []), "one or more of read, write, admin"),
        (("a", ["root"]), "one or more of read, write, admin"),
        (("a", ["read"], ["../b"]), "'../b' is not a name"),
        (("a", ["read"], []), "name a collection"),
        (("a", ["read"], None, 0), "not at least 1"),
        (("a", ["read"], None, None, -1), "not at least 1"),
    ],
)
def test_what_cannot_be_a_key_is_refused(keys: Keys, arguments: tuple, said: str) -> None:
    with pytest.raises(InputError, match=said):
        keys.create(*arguments)
    assert keys.list() == ()


def test_names_are_taken_once_and_stay_taken(keys: Keys) -> None:
    keys.create("alice", ["read"])
    keys.revoke("alice")
    with pytest.raises(InputError, match="already, or was"):
        keys.create("alice", ["read"])
    with pytest.raises(InputError, match="no key 'bob'"):
        keys.revoke("bob")


def test_what_other_processes_change_is_seen_within_a_second(
    keys: Keys, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(keys_module, "time", clock)
    now = 100.0
    _, secret = keys.create("alice", ["read"])
    assert keys.authenticate(secret)
    Keys(Database(database.path)).revoke("alice")
    now = 100.9
    assert keys.authenticate(secret), "keys are read from the database at each request"
    now = 101.0
    assert keys.authenticate(secret) is None
