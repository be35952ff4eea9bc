"""Who is let in, and to what."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rag.service import keys as keys_module
from rag.service.database import Database
from rag.service.keys import SCOPES, Keys
from tests.service.running import RunningService

PUBLIC = {"/health", "/ready", "/", "/static/{name}"}
SPOKEN = {
    "/v1/collections/{collection}/search": {"query": "x"},
    "/v1/answer": {"question": "x", "collection": "COLLECTION"},
    "/v1/chat/completions": {
        "model": "COLLECTION",
        "messages": [{"role": "user", "content": "x"}],
    },
}
"""Bodies of routes that are told in them what to look for, or where."""


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def routes(running: RunningService) -> Iterator[tuple[str, str, Any]]:
    """Return method, path and description of each route that is not for everybody."""
    for path, methods in running.app.openapi()["paths"].items():
        for method, operation in methods.items():
            if path not in PUBLIC:
                yield method.upper(), path, operation


def ask(running: RunningService, method: str, path: str, secret: str | None) -> httpx2.Response:
    """Send a request without a body, and with 'x' for each part of the path that varies."""
    path = "/".join("x" if part.startswith("{") else part for part in path.split("/"))
    return running.client.request(method, path, headers=bearer(secret) if secret else {})


def test_without_keys_everybody_is_let_in_and_any_key_will_do(running: RunningService) -> None:
    for headers in ({}, bearer("unused"), {"Authorization": "Basic eDp5"}):
        assert running.client.get("/v1/collections", headers=headers).status_code == 200


def test_every_route_says_which_scope_it_needs(running: RunningService) -> None:
    said = {(method, path): each.get("security") for method, path, each in routes(running)}
    assert len(said) > 3
    allowed = [[{"key": [scope]}] for scope in SCOPES]
    assert {where: needs for where, needs in said.items() if needs not in allowed} == {}


@pytest.mark.parametrize("kind", ["none", "wrong", "revoked"])
def test_every_route_refuses_strangers(running: RunningService, kind: str) -> None:
    keys = running.service.keys
    _, revoked = keys.create("revoked", ["admin"])
    keys.revoke("revoked")
    secret = {"none": None, "wrong": f"{revoked[:-1]}*", "revoked": revoked}[kind]
    for method, path, _ in routes(running):
        refused = ask(running, method, path, secret)
        assert refused.status_code == 401, (method, path)
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert refused.json()["error"]["code"] == "unauthorized"
        assert refused.json()["error"]["type"] == "authentication_error"


def test_every_route_refuses_keys_without_its_scope(running: RunningService) -> None:
    keys = running.service.keys
    secrets = {scope: keys.create(scope, [scope])[1] for scope in SCOPES}
    for method, path, operation in routes(running):
        (needed,) = operation["security"][0]["key"]
        for scope, secret in secrets.items():
            refused = ask(running, method, path, secret).status_code == 403
            assert refused == (scope not in (needed, "admin")), (method, path, scope)


def test_a_secret_in_another_form_is_none(running: RunningService) -> None:
    _, secret = running.service.keys.create("alice", ["admin"])
    for header in ("Bearer", f"Basic {secret}", secret, f"Bearer x {secret}", f"Bearer {secret} x"):
        headers = {"Authorization": header}
        assert running.client.get("/v1/collections", headers=headers).status_code == 401
    assert running.client.get("/v1/collections", params={"key": secret}).status_code == 401


def test_other_collections_are_as_if_absent(running: RunningService) -> None:
    for name in ("shown", "hidden"):
        running.client.post("/v1/collections", json={"name": name})
    uploaded = running.client.post(
        "/v1/collections/hidden/documents", files={"files": ("plan.txt", b"It is a secret plan.")}
    )
    _, secret = running.service.keys.create("alice", ["admin"], ["Shown"])
    running.client.headers = bearer(secret)
    assert running.client.get("/v1/collections/shown").status_code == 200
    hidden = {"collection": "hidden", "model": "hidden", "job": uploaded.json()["id"]}
    absent = {"collection": "absent", "model": "absent", "job": "absent"}
    for method, path, operation in routes(running):
        parameters = {each["name"] for each in operation.get("parameters", ())}
        if path in SPOKEN or parameters & hidden.keys():
            told = tell(running, method, path, hidden)
            assert told == tell(running, method, path, absent), (method, path)
        elif method == "GET":
            told = ask(running, method, path, secret).text
        assert "hidden" not in str(told), (method, path)
    assert "hidden" in running.service.library


def tell(running: RunningService, method: str, path: str, names: dict[str, str]) -> object:
    """Return what a request is answered with that names a collection; of errors, their codes."""
    reply = running.client.request(
        method,
        path.format_map(names),
        params={"collection": names["collection"], "id": "plan.txt", "tokens": "100"},
        json={
            field: names["collection"] if value == "COLLECTION" else value
            for field, value in SPOKEN.get(path, {}).items()
        },
    )
    return reply.status_code, reply.json() if reply.is_success else reply.json()["error"]["code"]


def test_keys_that_another_process_makes_and_revokes_are_seen(
    running: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "_FRESH", 0.0)
    elsewhere = Keys(Database(running.service.database.path))
    assert running.client.get("/v1/collections").status_code == 200
    _, secret = elsewhere.create("alice", ["read"])
    assert running.client.get("/v1/collections").status_code == 401
    assert running.client.get("/v1/collections", headers=bearer(secret)).status_code == 200
    elsewhere.revoke("alice")
    assert running.client.get("/v1/collections", headers=bearer(secret)).status_code == 401
    assert running.client.get("/v1/collections").status_code == 401


def test_secrets_are_in_no_file_no_log_and_no_reply(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with RunningService(tmp_path / "data", logs={"level": "debug"}) as running:
        _, good = running.service.keys.create("alice", ["read"], tokens_per_day=10)
        _, revoked = running.service.keys.create("bob", ["admin"])
        running.service.keys.revoke("bob")
        replies = [
            running.client.request(method, "/v1/collections", headers=bearer(secret))
            for secret in (good, revoked, "rag_wrong-secret")
            for method in ("GET", "POST", "PUT")
        ]
        stored = b"".join(
            file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file()
        )
    captured = capfd.readouterr()
    said = captured.out + captured.err + caplog.text
    said += "".join(f"{reply.headers} {reply.text}" for reply in replies)
    assert {reply.status_code for reply in replies} == {200, 401, 403, 405}
    for secret in (good, revoked, "rag_wrong-secret"):
        assert secret.removeprefix("rag_") not in said
        assert secret.removeprefix("rag_").encode() not in stored
