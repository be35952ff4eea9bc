"""The engine's calls, held against vLLM's own signatures; vLLM itself is not run.

They are read from source, so that neither a GPU nor vLLM's libraries are needed: from the
installed vLLM, or from the folder that VLLM_SOURCE names, such as an unpacked wheel.
"""

import ast
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from rag.core.errors import MissingExtra, ModelError
from rag.core.generation import Sampling
from rag.models import vllm_engine, vllm_llm
from rag.models.vllm_engine import VLLMEngine
from rag.models.vllm_requests import sampling_options

SIZES = (1, 8, 16, 32)
SAMPLINGS = [
    Sampling(),
    Sampling(choices=("a",)),
    Sampling(starts_with=("a",)),
    Sampling(json_schema={"type": "object"}),
]


@pytest.fixture(scope="module")
def source() -> Path:
    """The folder of vLLM's source."""
    if given := os.environ.get("VLLM_SOURCE"):
        return Path(given)
    spec = find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("vLLM is not installed, and VLLM_SOURCE is not set")
    return Path(spec.submodule_search_locations[0])


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def class_of(tree: ast.AST, name: str) -> ast.ClassDef:
    return next(
        node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name
    )


def fields(node: ast.ClassDef) -> set[str]:
    """Annotated names of a class body: the arguments of a dataclass or struct."""
    return {
        each.target.id
        for each in node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }


def arguments(tree: ast.AST, name: str) -> list[str]:
    """Names of the arguments of a function or method."""
    function = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    )
    return [each.arg for each in (*function.args.args, *function.args.kwonlyargs)]


def keywords(module: ModuleType, called: str) -> set[str]:
    """Keyword names with which our source calls something of that name."""
    found = set()
    for node in ast.walk(parsed(Path(str(module.__file__)))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == called:
            found |= {each.arg for each in node.keywords if each.arg}
    assert found
    return found


class TestSignatures:
    def test_engine_arguments(self, source: Path) -> None:
        tree = parsed(source / "engine" / "arg_utils.py")
        known = fields(class_of(tree, "EngineArgs")) | fields(class_of(tree, "AsyncEngineArgs"))
        options = parsed(Path(vllm_llm.__file__))
        passed = {
            key.value
            for node in ast.walk(options)
            if isinstance(node, ast.Dict)
            for key in node.keys
            if isinstance(key, ast.Constant)
        }
        assert {"tensor_parallel_size", "gpu_memory_utilization", "max_logprobs"} <= passed <= known
        own = keywords(vllm_engine, "AsyncEngineArgs")
        assert own <= known
        assert {"trust_remote_code", "load_format", "generation_config"} <= own
        assert {"max_model_len", "enable_lora", "max_lora_rank"} <= known

    def test_sampling_parameters(self, source: Path) -> None:
        tree = parsed(source / "sampling_params.py")
        known = fields(class_of(tree, "SamplingParams"))
        structures = fields(class_of(tree, "StructuredOutputsParams"))
        for sampling in SAMPLINGS:
            options = sampling_options(sampling)
            assert set(options.pop("structure", {})) <= structures
            assert set(options) <= known
        assert keywords(vllm_llm, "reading_options") <= known
        assert {"detokenize", "structured_outputs", "output_kind"} <= known
        kinds = class_of(tree, "RequestOutputKind")
        assert {"CUMULATIVE", "FINAL_ONLY"} <= {
            ast.unparse(node.targets[0]) for node in kinds.body if isinstance(node, ast.Assign)
        }
        (limit,) = (
            node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "MAX_LOGPROB_TOKEN_IDS"
        )
        assert ast.literal_eval(limit) >= vllm_llm._NAMED_TOKENS

    def test_structured_outputs_of_the_engine(self, source: Path) -> None:
        tree = parsed(source / "config" / "structured_outputs.py")
        known = fields(class_of(tree, "StructuredOutputsConfig"))
        assert keywords(vllm_engine, "StructuredOutputsConfig") <= known

    def test_engine_methods(self, source: Path) -> None:
        engine = class_of(parsed(source / "v1" / "engine" / "async_llm.py"), "AsyncLLM")
        assert arguments(engine, "generate")[1:4] == ["prompt", "sampling_params", "request_id"]
        assert "lora_request" in arguments(engine, "generate")
        assert arguments(engine, "add_lora") == ["self", "lora_request"]
        assert arguments(engine, "from_engine_args")[1] == "engine_args"
        assert arguments(engine, "get_tokenizer") == ["self"]
        assert arguments(engine, "shutdown")[0] == "self"
        assert arguments(parsed(source / "inputs" / "engine.py"), "tokens_input")[0] == (
            "prompt_token_ids"
        )
        config = class_of(parsed(source / "config" / "vllm.py"), "VllmConfig")
        assert arguments(config, "use_v2_model_runner") == ["self"]

    def test_adapters(self, source: Path) -> None:
        request = class_of(parsed(source / "lora" / "request.py"), "LoRARequest")
        ordered = [ast.unparse(e.target) for e in request.body if isinstance(e, ast.AnnAssign)]
        assert ordered[:3] == ["lora_name", "lora_int_id", "lora_path"]
        assert "MaxLoRARanks = Literal[" in (source / "config" / "lora.py").read_text("utf-8")

    def test_results(self, source: Path) -> None:
        tree = parsed(source / "outputs.py")
        sample = fields(class_of(tree, "CompletionOutput"))
        assert {"index", "text", "token_ids", "logprobs", "finish_reason"} <= sample
        answer = arguments(class_of(tree, "RequestOutput"), "__init__")
        assert {"prompt_token_ids", "prompt_logprobs", "outputs", "num_cached_tokens"} <= {*answer}
        logprob = class_of(parsed(source / "logprobs.py"), "Logprob")
        assert "logprob" in fields(logprob)
        errors = parsed(source / "exceptions.py")
        assert [ast.unparse(base) for base in class_of(errors, "VLLMClientError").bases] == [
            "VLLMError"
        ]

    def test_public_names(self, source: Path) -> None:
        exported = (source / "__init__.py").read_text("utf-8")
        assert all(f'"{name}": ' in exported for name in ("AsyncEngineArgs", "AsyncLLMEngine"))


def test_importing_the_toolkit_does_not_import_vllm(tmp_path: Path) -> None:
    (tmp_path / "vllm.py").write_text("raise AssertionError")
    code = "import rag, rag.models; rag.models.VLLM"
    path = os.pathsep.join((str(tmp_path), *sys.path))
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=True)


def test_a_missing_package_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtra, match=r"ragmeter\[vllm\]"):
        VLLMEngine("tiny", tmp_path, None, {})


def test_an_adapter_that_would_be_unpickled_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 8}))
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="no adapter weights in safetensors format"):
        vllm_engine._max_rank(tmp_path, SIZES)


@pytest.mark.parametrize("config", ["", "{}", '{"r": "wide"}', "[]"])
def test_an_adapter_without_a_rank(tmp_path: Path, config: str) -> None:
    (tmp_path / "adapter_config.json").write_text(config)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"adapter_config\.json states no rank"):
        vllm_engine._max_rank(tmp_path, SIZES)


def test_adapters_get_the_smallest_room_they_fit(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    for rank, room in ((1, 1), (2, 8), (16, 16), (17, 32)):
        (tmp_path / "adapter_config.json").write_text(json.dumps({"r": rank}))
        assert vllm_engine._max_rank(tmp_path, SIZES) == room
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 33}))
    with pytest.raises(ModelError, match="rank 33 is more than vLLM has room for: 32"):
        vllm_engine._max_rank(tmp_path, SIZES)
