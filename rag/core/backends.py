"""What operations run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rag.core.errors import ProgramError
from rag.core.operations import LeafOp, Program
from rag.core.protocols import LLM, Retriever
from rag.core.search_operations import Search


@dataclass(frozen=True, slots=True)
class Backends:
    """What operations run on unless they name a backend of their own.

    Args:
        llm: The language model.
        retriever: The retriever.
    """

    llm: LLM | None = None
    retriever: Retriever | None = None

    @property
    def context_window(self) -> int | None:
        """Tokens that the model reads and writes at once; None without a model."""
        return getattr(self.llm, "context_window", None)

    def find(self, op: LeafOp[Any]) -> Any:
        """Return the backend of an operation; None if neither names one."""
        return op.backend or getattr(self, op.backend_kind, None)

    def of(self, op: LeafOp[Any]) -> Any:
        """Return the backend of an operation.

        Raises:
            ProgramError: The operation names none and there is none for its kind.
        """
        backend = self.find(op)
        if backend is None:
            raise ProgramError(
                f"{type(op).__name__} needs a backend: give the engine its {op.backend_kind}"
            )
        return backend

    def program(self, op: LeafOp[Any]) -> Program[Any] | None:
        """Return the program that is run in place of an operation; None for most."""
        if not isinstance(op, Search):
            return None
        make = getattr(self.find(op), "program", None)
        return None if make is None else make(op.query, op.top_k, op.where)
