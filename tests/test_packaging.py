"""What is shipped: built, installed in a fresh environment, imported from another directory."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINKS = ("indexes", "retrievers", "rerankers", "pipelines")

IMPORT_EVERYTHING = """
import importlib, pathlib, pkgutil, sys
import rag

assert pathlib.Path(rag.__file__).is_relative_to(sys.prefix), rag.__file__
packages = ["rag"]
for module in pkgutil.walk_packages(rag.__path__, "rag."):
    importlib.import_module(module.name)
    if module.ispkg:
        packages.append(module.name)
for name in packages:
    package = importlib.import_module(name)
    assert package.__file__, f"{name} has no __init__.py"
    for public in getattr(package, "__all__", ()):
        getattr(package, public)
print(*packages)
"""


def run(*command: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both distributions from a copy that has the litter of a working tree in it."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".git", ".venv", ".demo", "dist", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignored)
    for litter in (".venv/pyvenv.cfg", ".demo/docs.rag/store.sqlite", "dist/old.whl"):
        (source / litter).parent.mkdir(parents=True, exist_ok=True)
        (source / litter).touch()
    # With neither --wheel nor --sdist, the wheel is built from the source distribution.
    out = folder / "out"
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, cwd=source)
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel where only third-party packages come from the current environment."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder.parent)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A path file's paths are not searched for further path files, so the editable installation
    # of the source tree stays out of sight.
    (packages / "others.pth").write_text(sysconfig.get_paths()["purelib"])
    return folder


def test_the_wheel_holds_all_of_rag_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"rag"}
    assert len(tops) == 2
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "rag").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("rag/")} == sources
    assert "rag/py.typed" in sources


def test_the_wheel_carries_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in archive.namelist())


def test_the_source_distribution_holds_the_project_once(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.split("/", 1)[-1] for member in archive.getmembers()}
    tops = {name.split("/")[0] for name in names}
    assert tops.isdisjoint({*LINKS, ".venv", ".git", ".demo", "dist"})
    assert {"rag", "tests", "examples", "docs", "Makefile", "constraints.txt", "LICENSE"} <= tops
    assert {"tests/data/nq/corpus.jsonl", "examples/sqlite/wal.html"} <= names


def test_every_public_name_imports_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    packages = run(environment / "bin" / "python", "-c", IMPORT_EVERYTHING, cwd=tmp_path).split()
    assert {"rag", "rag.core", "rag.cli", *(f"rag.{link}" for link in LINKS[:2])} <= set(packages)


def test_the_command_runs_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    assert "Usage: rag" in run(environment / "bin" / "rag", "--help", cwd=tmp_path)


def test_the_links_point_into_the_package() -> None:
    for link in LINKS:
        assert (ROOT / link).readlink() == Path("rag") / link
