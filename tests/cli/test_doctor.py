"""`rag doctor` names what is wrong and what to do."""

import importlib.metadata
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from rag.cli import checks, main
from rag.cli.checks import Check
from rag.indexes.gpu import devices as gpu_devices
from rag.indexes.gpu.devices import Gpu, Gpus


def only(check: Callable[[], Iterator[Check]]) -> Check:
    (finding,) = check()
    return finding


def pretend_installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    found = [SimpleNamespace(metadata={"Name": name}) for name in names]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: found)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.15.1")


def test_here_nothing_central_is_wrong() -> None:
    done = CliRunner().invoke(main, ["doctor", "--json"])
    assert done.exit_code == 0, done.output
    found = {each["name"]: each["severity"] for each in json.loads(done.stdout)["checks"]}
    assert found.items() >= {"faiss": "ok", "torch": "ok", "sqlite": "ok", "cache": "ok"}.items()


def test_two_builds_of_faiss_are_named_as_the_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch, "faiss-cpu", "faiss-gpu", "numpy")
    finding = only(checks.check_faiss)
    assert finding.severity == "error"
    assert "faiss-cpu and faiss-gpu" in finding.message
    assert "pip uninstall faiss-cpu faiss-gpu" in finding.next_step


def test_a_missing_faiss_names_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch, "numpy")
    finding = only(checks.check_faiss)
    assert finding.severity == "error"
    assert "ragmeter[cpu]" in finding.next_step
    assert "ragmeter[gpu]" in finding.next_step


def test_a_gpu_build_without_its_gpu_part(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch, "faiss-gpu")
    # What importing gives after faiss-cpu was installed over faiss-gpu and uninstalled again.
    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace())
    assert "lost its GPU part" in only(checks.check_faiss).message


def test_an_error_makes_the_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch)
    monkeypatch.setattr(checks, "CHECKS", (checks.check_faiss,))
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 1
    assert "ragmeter[cpu]" in done.stdout


def test_a_missing_extra_is_a_warning_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    findings = list(checks.check_extras())
    assert {each.severity for each in findings} == {"warning"}
    assert [each.next_step for each in findings] == [
        f"pip install 'ragmeter[{extra}]'" for extra in ("pdf", "docx", "parquet", "web", "ddgs")
    ]


def test_a_cache_that_cannot_be_written_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    blocker = tmp_path_factory.mktemp("cache") / "file"
    blocker.touch()
    monkeypatch.setenv("RAG_CACHE", str(blocker / "below"))
    finding = only(checks.check_cache)
    assert finding.severity == "error"
    assert str(blocker) in finding.message


@pytest.mark.parametrize(
    ("found", "severity", "message"),
    [
        (Gpus((Gpu(0, 80 * 10**9),), cuvs=True), "ok", "cuda:0: 80.0 GB free; with cuVS"),
        (Gpus((), "FAISS sees no GPU", "look"), "warning", "FAISS sees no GPU"),
    ],
)
def test_a_gpu_build_names_its_gpus(
    monkeypatch: pytest.MonkeyPatch, found: Gpus, severity: str, message: str
) -> None:
    pretend_installed(monkeypatch, "faiss-gpu")
    module = SimpleNamespace(StandardGpuResources=object)
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    monkeypatch.setattr(gpu_devices, "find_gpus", lambda: found)
    _, gpus = checks.check_faiss()
    assert (gpus.name, gpus.severity, gpus.message) == ("faiss gpu", severity, message)
