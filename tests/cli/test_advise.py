import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rag.cli import main
from rag.core.documents import Document
from rag.indexes import Collection
from rag.testing.embedders import HashEmbedder


def advise(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["index", "advise", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


def test_the_choice_is_marked_and_comes_with_its_command() -> None:
    lines = advise("--passages", 50_000).stdout.splitlines()
    (marked,) = (line for line in lines if line.startswith("→"))
    assert marked.split()[1:3] == ["flat", "float16"]
    assert lines[-1] == "rag index create COLLECTION PATHS… --index flat --codes float16"


def test_an_approximate_index_is_tuned_to_the_recall() -> None:
    shown = advise("--passages", 5_000_000, "--memory", "100GB", "--recall", 0.9).stdout
    assert shown.rstrip().endswith("--recall 0.9")


def test_a_collection_says_its_size_and_what_it_has(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", HashEmbedder(64)) as collection:
        collection.add([Document("d", "some words")])
    found = json.loads(advise(tmp_path / "c", "--json").stdout)
    assert (found["advice"]["passages"], found["advice"]["dimension"]) == (1, 64)
    assert found["index_now"] == "flat with float32"
    assert "now it is flat with float32" in advise(tmp_path / "c", "--passages", 10**6).stdout


def test_memory_that_is_too_little_ends_in_advice_too() -> None:
    assert "none of them" in advise("--passages", 10**9, "--memory", "1 GiB").stdout


def test_gpu_memory_adds_columns() -> None:
    assert "fits GPU" not in advise("--passages", 1000).stdout
    assert "fits GPU" in advise("--passages", 1000, "--gpu-memory", "141GB").stdout


@pytest.mark.parametrize("size", ["much", "16 XB", "-1GB", "I"])
def test_a_size_is_a_number_with_a_unit(size: str) -> None:
    assert "is no size" in advise("--passages", 1000, "--memory", size, code=2).output


def test_without_a_size_there_is_nothing_to_say() -> None:
    assert "give COLLECTION, or --passages" in advise(code=2).output
