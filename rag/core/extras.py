"""Optional dependencies."""

from __future__ import annotations

import importlib
from types import ModuleType

from rag.core.errors import MissingExtra


def require(module: str, *, extra: str, needed_for: str, package: str = "") -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Args:
        module: Module to import.
        extra: The extra of `ragmeter` that installs it.
        needed_for: What it is needed for, as the start of a sentence.
        package: Name of the distribution, where it is not the module's.

    Raises:
        MissingExtra: The module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A broken installation of the package itself must not pass for a missing one.
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise
        raise MissingExtra(package or module, extra, needed_for) from error
