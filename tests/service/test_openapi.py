"""The OpenAPI document: complete, and true of the service."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.running import RunningService

_TEXT = ("a.md", b"# WAL\n\nWAL mode is enabled with a pragma.", "text/markdown")
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
"""All that apply: what a schema cannot say (which pipelines there are, say) is refused, too."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a collection and a key."""
    with RunningService(tmp_path_factory.mktemp("service")) as running:
        client = running.client
        _, secret = running.service.keys.create("tests", ["admin"])
        client.headers["Authorization"] = f"Bearer {secret}"
        client.post("/v1/collections", json={"name": "handbook"}).raise_for_status()
        uploaded = client.post("/v1/collections/handbook/documents", files=[("files", _TEXT)])
        uploaded.raise_for_status()
        yield running


@pytest.fixture(scope="module")
def document(service: RunningService) -> Any:
    """The OpenAPI document."""
    return service.client.get("/openapi.json").json()


def _operations(document: Any) -> Iterator[tuple[str, Any]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"{method} {path}", operation


def test_operations_are_described_and_tagged(document: Any) -> None:
    bare = [
        name
        for name, each in _operations(document)
        if not (each.get("summary") and each.get("description") and each.get("tags"))
    ]
    assert list(_operations(document))
    assert bare == []


def test_errors_are_documented(document: Any) -> None:
    for name, each in _operations(document):
        assert "default" in each["responses"], name
        takes_name = any(given["in"] == "path" for given in each.get("parameters", ()))
        assert not takes_name or "404" in each["responses"], name
        for status, reply in each["responses"].items():
            if status in ("default", "503") or status >= "400":
                schema = reply["content"]["application/json"]["schema"]
                assert schema["$ref"].endswith("/ErrorReply") or status == "503", (name, status)


def test_requests_have_examples(document: Any) -> None:
    for name, each in _operations(document):
        for content in each.get("requestBody", {}).get("content", {}).values():
            schema = _resolved(document, content["schema"])
            required = [schema["properties"][key] for key in schema.get("required", ())]
            assert required, name
            assert "example" in content or all("examples" in key for key in required), name


def test_parameters_and_attributes_are_described(document: Any) -> None:
    for name, each in _operations(document):
        for given in each.get("parameters", ()):
            described = given.get("description") or given["in"] == "path"
            assert described, (name, given["name"])


def _resolved(document: Any, schema: Any) -> Any:
    if "$ref" in schema:
        return document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def test_service_is_as_documented(service: RunningService, tmp_path: Path) -> None:
    _check(service, tmp_path, "coverage", examples=1, seconds=120)


@pytest.mark.slow
def test_service_is_as_documented_at_length(service: RunningService, tmp_path: Path) -> None:
    _check(service, tmp_path, "examples,coverage,fuzzing,stateful", examples=200, seconds=1200)


def _check(
    service: RunningService, folder: Path, phases: str, *, examples: int, seconds: float
) -> None:
    """Have schemathesis call every operation with what the document allows and what it forbids."""
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "run", f"{service.url}/openapi.json"),
            *("--header", f"Authorization:{service.client.headers['Authorization']}"),
            *("--phases", phases, "--checks", ",".join(_CHECKS)),
            *("--max-examples", str(examples), "--seed", "0", "--continue-on-failure"),
            *("--suppress-health-check", "all", "--no-color"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
