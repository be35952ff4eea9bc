"""How a model reads passages: in sequence, or each of them once for all questions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.core.errors import CollectionError, InputError, ModelError, Unsupported
from rag.pipelines.encoded_passages import why_varying

if TYPE_CHECKING:
    from rag.context import ApeSettings
    from rag.core.protocols import LLM
    from rag.core.templates import Template
    from rag.models.transformers_llm import TransformersLLM


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a model reads contexts.

    Args:
        settings: Those of parallel encoding; None for contexts that are read in sequence.
        calibrated: The day on which they were found, as YYYY-MM-DD; '' for none.
    """

    settings: ApeSettings | None = None
    calibrated: str = ""

    def __str__(self) -> str:
        """Return it in words."""
        if self.settings is None:
            return "sequential"
        return f"parallel, {worded(self.settings)} (calibrated {self.calibrated})"


def worded(settings: ApeSettings) -> str:
    """Return settings in words."""
    words = f"temperature {settings.temperature:g}, scale {settings.scale:g}"
    return f"{words}, the last {settings.sequential} in sequence" if settings.sequential else words


def of_this_process(llm: LLM) -> TransformersLLM:
    """Return a model whose states are at hand.

    Raises:
        Unsupported: It runs elsewhere.
    """
    from rag.models.transformers_llm import TransformersLLM

    if not isinstance(llm, TransformersLLM):
        raise Unsupported(
            llm.name,
            "contexts that are encoded apart",
            "take a model that transformers runs in this process: a folder, a GGUF file, a name of "
            "`rag models` or of the hub",
        )
    return llm


def with_contexts(
    llm: LLM, contexts: str, folder: Path | None, template: Template | None
) -> tuple[LLM, Encoding]:
    """Return a model that reads contexts as `--contexts` says, and how that is.

    Args:
        llm: The model.
        contexts: 'auto', 'sequential' or 'parallel'.
        folder: Folder of encoded passages and calibrations; see `contexts_folder`.
        template: What shows it the passages; None for prompts that number them.

    Raises:
        InputError: They are to be read in parallel, and there is no calibration.
        Unsupported: The model cannot do that, or the calibration says that answers would suffer.
    """
    if folder is None or not may_be_parallel(contexts, folder, template):
        return llm, Encoding()
    try:
        return _parallel(llm, folder, template)
    except (InputError, ModelError, CollectionError):
        if contexts == "parallel":
            raise
        return llm, Encoding()


def may_be_parallel(contexts: str, folder: Path | None, template: Template | None) -> bool:
    """Return whether to look for a calibration, for which the model has to be there."""
    if contexts != "auto":
        return contexts == "parallel"
    return folder is not None and os.access(folder, os.W_OK) and _alike(template)


def _parallel(llm: LLM, folder: Path, template: Template | None) -> tuple[LLM, Encoding]:
    from rag.context import ContextStore, ParallelLLM
    from rag.context.calibration import Calibration, allowed_settings

    local = of_this_process(llm)
    store = ContextStore(folder, llm.name, llm.revision)
    settings = allowed_settings(llm.name, store)
    found = Calibration.from_json(store.calibration)
    store = ContextStore(folder, llm.name, llm.revision, int8=found.int8)
    # What is encoded for one question only would fill the disk, and never be found again.
    parallel = ParallelLLM(local, settings, store=store if _alike(template) else None)
    return parallel, Encoding(settings, found.date)


def _alike(template: Template | None) -> bool:
    """Return whether passages are shown alike to every question."""
    return template is not None and not why_varying(template)
