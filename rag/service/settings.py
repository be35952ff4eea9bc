"""How the service is run: a TOML file, and the environment over it."""

from __future__ import annotations

import os
import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from rag.core.errors import InputError
from rag.models.registry import DEFAULT_EMBEDDER, DEFAULT_LLM

PREFIX = "RAG_SERVICE_"
"""Environment variables that begin with it are settings: RAG_SERVICE_SERVER__PORT=8080."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""The name of a collection, a pipeline or a key."""

Origin = Annotated[str, StringConstraints(pattern=r"^https?://[^/*\s]+$")]
"""Where a page comes from: 'https://wiki.example.com'."""


def default_data() -> Path:
    """Return the service's folder where none is named.

    It is what the environment variable RAG_SERVICE_DATA says, else `ragmeter` in the user's folder
    for data: $XDG_DATA_HOME, else ~/.local/share.
    """
    if named := os.environ.get(f"{PREFIX}DATA"):
        return Path(named)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "ragmeter"


class Section(BaseModel):
    """A part of the settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(Section):
    """Where the service listens.

    Attributes:
        host: Address to listen at; any but loopback needs a key.
        port: Port; 0 takes one that is free.
        hosts: Names, beside those of this machine's loopback, that requests may address.
        origins: Other origins whose pages may use the API (CORS).
        shutdown_seconds: How long requests under way may go on once the service is told to stop.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    hosts: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()
    shutdown_seconds: int = Field(default=30, ge=0)

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.casefold() == "localhost"


class Models(Section):
    """The models that are loaded.

    Attributes:
        embedder: For new collections: a name that `load_embedder` resolves.
        llm: A name that `load_llm` resolves; '' for none: answers are sentences of the documents.
    """

    embedder: str = DEFAULT_EMBEDDER
    llm: str = DEFAULT_LLM


class Answers(Section):
    """How questions are answered where a request does not say.

    Attributes:
        pipeline: Name of the pipeline: 'read', 'extractive', 'planned', or one of `pipelines`.
        top_k: Passages to read.
        max_tokens: Tokens of a reply.
        seconds: Most that an answer may take; a request may ask for less.
        tokens: Most input tokens that an answer may use; a request may ask for less.
        allocation: A file of `rag budget fit`: 'planned' spends a budget as it says.
        examples: Worked examples of `rag examples build`, which 'planned' and strategies show.
        prompts: A folder of prompt templates that replace the shipped ones.
        keep: Answers that are kept for feedback; older ones are dropped. 0 keeps none.
    """

    pipeline: Name = "read"
    top_k: int = Field(default=5, ge=1, le=100)
    max_tokens: int = Field(default=128, ge=1)
    seconds: float = Field(default=120, gt=0)
    tokens: int | None = Field(default=None, ge=1)
    allocation: Path | None = None
    examples: Path | None = None
    prompts: Path | None = None
    keep: int = Field(default=10_000, ge=0)


class PipelineSettings(Section):
    """A pipeline of your own, under a name of your own.

    Attributes:
        strategy: 'read', or a strategy of `rag.pipelines`: 'DRAG', 'IterDRAG', 'SelfAsk', …
        documents: Passages to read.
        examples: Worked examples to show.
        steps: Steps at most.
        rerank: For 'read': the reranker that chooses the passages, as `rag ask --rerank` takes it.
        candidates: For 'read' with a reranker: passages that it chooses from.
    """

    strategy: str = "read"
    documents: int = Field(default=5, ge=1)
    examples: int = Field(default=0, ge=0)
    steps: int = Field(default=1, ge=1)
    rerank: str | None = None
    candidates: int = Field(default=50, ge=1)


class Web(Section):
    """Answers from the web; without engines there are none.

    Attributes:
        engines: Search engines as `load_engine` takes them: 'searxng@http://host:port', 'brave', …
        allow: Private hosts, addresses and networks that may be fetched from.
        results: Results to ask each engine for.
        pages: Pages to read.
        per_domain: Of these, pages of one registered domain.
        weight: What a hit of the web counts, next to 1 for one of a collection.
    """

    engines: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    results: int = Field(default=10, ge=1)
    pages: int = Field(default=8, ge=1)
    per_domain: int = Field(default=2, ge=1)
    weight: float = Field(default=1.0, ge=0)


class Limits(Section):
    """What is refused, so that what is taken on is done.

    Attributes:
        body_bytes: Largest body of a request other than an upload.
        file_bytes: Largest file.
        upload_bytes: Largest upload, all files together.
        upload_files: Most files of an upload.
        stored_bytes: Most bytes of all uploads that wait to be indexed.
        running: Requests for searches and answers that are worked on at once.
        waiting: Such requests that wait; more are refused with 429.
        search_seconds: Most that a search may take.
        requests_per_minute: Requests of one key, or without keys of one address; a key can have
            a limit of its own. None is no limit.
    """

    body_bytes: int = Field(default=1 << 20, ge=1)
    file_bytes: int = Field(default=64 << 20, ge=1)
    upload_bytes: int = Field(default=256 << 20, ge=1)
    upload_files: int = Field(default=1000, ge=1)
    stored_bytes: int = Field(default=4 << 30, ge=1)
    running: int = Field(default=64, ge=1)
    waiting: int = Field(default=256, ge=0)
    search_seconds: float = Field(default=30, gt=0)
    requests_per_minute: int | None = Field(default=None, ge=1)


class Logs(Section):
    """What is logged to standard error: requests and jobs, never questions, texts or keys.

    Attributes:
        format: 'json', one object a line, or 'text' for people.
        level: The least that is logged.
    """

    format: Literal["json", "text"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(Section):
    """All settings of the service.

    Attributes:
        data: The service's folder: its database, uploads that wait, and its collections. `rag
            serve PATH…` has one of its own in the default one for each set of paths.
        read_only: Whether collections can only be searched; then another process may write them.
    """

    data: Path = Field(default_factory=default_data)
    read_only: bool = False
    server: Server = Server()
    models: Models = Models()
    answers: Answers = Answers()
    pipelines: dict[Name, PipelineSettings] = Field(default_factory=dict)
    web: Web = Web()
    limits: Limits = Limits()
    logs: Logs = Logs()


def load_settings(file: Path | None, **given: Any) -> Settings:
    """Read the settings.

    Args:
        file: A TOML file; None for none.
        given: Settings that come before those of the environment and of the file, nested as there.

    Raises:
        InputError: The file cannot be read, or a key or a value in it, or in the environment, is
            not one that there is.
    """
    values: dict[str, Any] = {}
    try:
        if file is not None:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        for each in (_environment(), given):
            values = _merged(values, each)
        return Settings(**values)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"settings: {where}: {first['msg']}") from error


def _environment() -> dict[str, Any]:
    """Return the settings of the environment, nested."""
    values: dict[str, Any] = {}
    for name, value in os.environ.items():
        if name.startswith(PREFIX):
            *path, last = name.removeprefix(PREFIX).lower().split("__")
            place = values
            for each in path:
                place = place.setdefault(each, {})
            place[last] = (
                tomllib.loads(f"it = {value}")["it"] if value.startswith(("[", "{")) else value
            )
    return values


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return both, what is `over` first, table by table."""
    merged = dict(under)
    for key, value in over.items():
        both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both_tables else value
    return merged
