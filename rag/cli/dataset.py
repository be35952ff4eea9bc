"""Options of commands that work on a data set, and the collection of its documents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rag.core.progress import Progress
    from rag.evaluation import RetrievalDataset
    from rag.indexes import Collection

dataset_argument = click.argument("folder", type=click.Path(path_type=Path))
kept_option = click.option(
    "--collection",
    "kept",
    type=click.Path(path_type=Path),
    help="Where to keep the collection of the documents, to use it again; by default nowhere.",
)
split_option = click.option(
    "--split", default="test", show_default=True, help="Judgements in qrels/SPLIT.tsv."
)


@contextmanager
def collection_of(
    dataset: RetrievalDataset, kept: Path | None, embedder_name: str, progress: Progress
) -> Iterator[Collection]:
    """Open a collection that holds the documents of a data set."""
    from rag.indexes import Collection
    from rag.models.registry import load_embedder
    from rag.pipelines.encoded_passages import drop_removed

    embedder = load_embedder(embedder_name)
    with TemporaryDirectory(prefix="rag-eval-") as folder:
        path = kept or Path(folder) / "collection"
        if path.exists():
            collection = Collection.open(path, embedder, writable=True)
        else:
            collection = Collection.create(path, embedder)
        with collection:
            collection.add(dataset.documents(), progress=progress)
            drop_removed(collection)
            yield collection
