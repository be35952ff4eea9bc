"""`--contexts`: whether passages are read in sequence, or each of them once for all questions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.progress import working

if TYPE_CHECKING:
    from rag.core.protocols import LLM

contexts_option = click.option(
    "--contexts",
    type=click.Choice(("auto", "sequential", "parallel")),
    default="auto",
    show_default=True,
    help="Read passages in sequence, or each once and keep it for other questions (parallel), with "
    "the settings that `rag cache calibrate` found. By default in parallel where a calibration "
    "allows it and the prompt shows a passage the same way to every question.",
)
store_option = click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of encoded passages and calibrations; by default COLLECTION/contexts, the only "
    "one from which `rag index` drops what it removes.",
)


def contexts_folder(
    contexts: str, store: Path | None, collection: str | Path | None
) -> Path | None:
    """Return the folder that `--store` names, or else the collection's own; None without either."""
    from rag.pipelines.encoded_passages import FOLDER

    folder = store or (collection / FOLDER if isinstance(collection, Path) else None)
    if contexts == "parallel" and folder is None:
        raise click.UsageError("--contexts parallel needs --store: a folder with a calibration")
    return folder


def load(llm_name: str) -> LLM:
    """Load the model that `--llm` names."""
    from rag.models.registry import load_llm

    with working(f"loading {llm_name}; its first use takes longer"):
        return load_llm(llm_name)
