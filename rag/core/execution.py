"""Carries out batches of calls on their backends."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import replace
from typing import Any, cast

from rag.core.budgets import Reservation
from rag.core.errors import (
    BatchError,
    ContextOverflow,
    FlowRefused,
    InputError,
    ProgramError,
    Unsupported,
)
from rag.core.events import TextDelta
from rag.core.operations import Generate
from rag.core.protocols import LLM
from rag.core.sensitivity import named
from rag.core.tasks import Call
from rag.core.usage import Prices, Usage

_REFUSED = (ContextOverflow, InputError, Unsupported)
"""Errors that a backend raises before it does any work."""


def batch(call: Call) -> Hashable:
    """Return what calls must share to be carried out as one batch."""
    return lane(call), type(call.op), call.op.batch_key


def lane(call: Call) -> Hashable:
    """Return the backend of a call, as something to compare and hash."""
    return id(call.backends.find(call.op))


def concurrent(call: Call) -> bool:
    """Say whether the backend of a call works on several batches side by side."""
    return "concurrent" in getattr(call.backends.find(call.op), "capabilities", ())


def batches_at_once(call: Call) -> int:
    """Return how many batches the backend of a call works on side by side."""
    return getattr(call.backends.find(call.op), "batches_at_once", 1)


def needs(calls: Sequence[Call]) -> list[Reservation | Exception]:
    """Find out what each call of a batch needs from its budget, or why it cannot be made."""
    ops = [call.op for call in calls]
    tokens = any(call.meter.counts_tokens for call in calls)
    found = _each(lambda: ops[0].needs(calls[0].backend, ops, tokens=tokens), len(ops))
    return [_refused(call) or need for call, need in zip(calls, found, strict=True)]


def _refused(call: Call) -> FlowRefused | None:
    """Return the error of a call that would tell its backend what that may not learn."""
    backend = call.op.backend
    allowed = call.op.discloses(backend) if backend is not None else None
    read = call.task.sensitivity
    if allowed is None or read <= allowed:
        return None
    to = getattr(backend, "name", type(backend).__name__)
    return FlowRefused(to, named(read), named(allowed))


def run(calls: Sequence[Call]) -> list[Any]:
    """Carry out a batch; the result of a call that failed is its error."""
    ops = [call.op for call in calls]
    return _each(lambda: ops[0].run(calls[0].backend, ops), len(ops))


def streams(call: Call) -> bool:
    """Say whether a call's reply is wanted, and can be had, piece by piece."""
    if not (call.task.question.streamed and isinstance(call.op, Generate)):
        return False
    return "stream" in call.backend.capabilities


def stream(call: Call) -> Generator[TextDelta, None, list[Any]]:
    """Carry out one `Generate`, yield its pieces and return its reply as a batch of one."""
    op = cast(Generate, call.op)
    llm: LLM = call.backend
    reply: Any = ProgramError(f"{llm.name} ended a stream without a reply")
    try:
        for piece in llm.stream(op.prompt, op.sampling):
            if isinstance(piece, str):
                yield TextDelta(op, piece)
            else:
                reply = piece
    except Exception as error:  # noqa: BLE001 # whatever it is, the program gets it
        reply = error
    return [reply]


def usage_of(call: Call, result: Any, seconds: float) -> Usage:
    """Return what a call used, its share of the batch's seconds and its price included."""
    if isinstance(result, Exception):
        # What a failed call cost is unknown; it still counts as a call, so that a program
        # that tries again and again meets its budget.
        promised = call.reservation.calls if call.reservation else 0
        return Usage(calls=0 if isinstance(result, _REFUSED) else promised, seconds=seconds)
    usage = call.op.usage(result)
    prices: Prices | None = getattr(call.backend, "prices", None)
    cost = usage.cost
    if prices is not None and not usage.cache_hits:
        cost = prices.cost(usage.input_tokens, usage.output_tokens, usage.cached_tokens)
    return replace(usage, seconds=seconds, cost=cost)


def _each(run: Callable[[], Sequence[Any]], size: int) -> list[Any]:
    """Run a batch and return a result or an error for each of its items."""
    try:
        results = list(run())
    except BatchError as error:
        results = list(error.results)
    except Exception as error:  # noqa: BLE001 # whatever it is, the programs that asked get it
        return [error] * size
    if len(results) != size:
        return [ProgramError(f"a backend returned {len(results)} results, not {size}")] * size
    return results
