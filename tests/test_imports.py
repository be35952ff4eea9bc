"""Importing the package and asking the command for help load nothing heavy."""

import subprocess
import sys

import pytest

HEAVY = {
    "docx",
    "faiss",
    "pyarrow",
    "pypdfium2",
    "sentence_transformers",
    "tantivy",
    "torch",
    "trafilatura",
    "transformers",
}


@pytest.mark.parametrize(
    "statement",
    [
        "import rag; dir(rag)",
        "import rag.core, rag.text, rag.models, rag.indexes, rag.retrievers, rag.rerankers",
        "import rag.pipelines, rag.evaluation, rag.testing",
        "from rag.cli import main; main(['--help'], standalone_mode=False)",
        "from rag.cli import main; main(['index', 'create', '--help'], standalone_mode=False)",
    ],
)
def test_loads_nothing_heavy(statement: str) -> None:
    script = f"{statement}\nimport sys; print('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split("MODULES")[-1].split())
    assert "rag" in loaded
    assert not loaded & HEAVY
