"""Parallel-encoded context caches: every passage is read once, for any number of questions."""

from rag.core.extras import require

# What follows needs it, and would fail with an error that does not say how to get it.
require("torch", extra="local", needed_for="contexts that are encoded in parallel")

from rag.context.calibration import Calibration  # noqa: E402
from rag.context.calibration_examples import Example, load_examples  # noqa: E402
from rag.context.parallel_llm import ParallelLLM  # noqa: E402
from rag.context.settings import ApeSettings  # noqa: E402
from rag.context.store import ContextStore  # noqa: E402
from rag.context.tuning import calibrate  # noqa: E402

__all__ = [
    "ApeSettings",
    "Calibration",
    "ContextStore",
    "Example",
    "ParallelLLM",
    "calibrate",
    "load_examples",
]
