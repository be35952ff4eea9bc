"""Passages and questions of real data sets, for a service to be loaded with."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from rag import Collection, Document
from rag.core.protocols import Embedder
from rag.evaluation import read_dataset

WORDS = 80
DATA = Path(__file__).parents[1] / "tests" / "data"


def folders_of(given: Sequence[Path]) -> list[Path]:
    """Return the folders of the data sets; those of the tests where none is given."""
    return list(given) or sorted(path for path in DATA.iterdir() if path.is_dir())


def passages(folders: Sequence[Path], count: int) -> list[Document]:
    """Return distinct texts of about 80 words, each a document that makes one passage.

    Raises:
        SystemExit: The data sets hold fewer.
    """
    texts: dict[str, str] = {}
    for folder in folders:
        for document in read_dataset(folder).documents():
            words = document.text.split()
            for start in range(0, len(words), WORDS):
                texts.setdefault(" ".join(words[start : start + WORDS]), document.title)
                if len(texts) == count:
                    return [
                        Document(str(number), text, title)
                        for number, (text, title) in enumerate(texts.items())
                    ]
    raise SystemExit(f"the data sets hold only {len(texts)} passages; name more of them")


def queries(folders: Sequence[Path]) -> list[str]:
    """Return the distinct questions of the data sets, in random order."""
    found = {query.text: None for folder in folders for query in read_dataset(folder).queries}
    shuffled = list(found)
    random.Random(0).shuffle(shuffled)
    return shuffled


def build(path: Path, documents: Sequence[Document], load: Callable[[], Embedder]) -> None:
    """Build the collection, unless it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with Collection.create(path, load()) as collection:
            collection.add(documents)
    with Collection.open(path) as collection:
        assert collection.info().passages == len(documents), f"{path} holds others; delete it"
