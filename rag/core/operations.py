"""Operations: what a program may await.

A program is a coroutine that awaits operations and is given their results. It never calls a model
or an index itself, and there is no event loop in it: an operation yields itself to whoever drives
the coroutine, which is the engine, or a test that answers by hand with `send`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, overload

from rag.core.budgets import Allowance, Budget, Reservation
from rag.core.generation import ContinuationScore, NextTokenScores, Prompt, Reply, Sampling
from rag.core.protocols import LLM
from rag.core.sensitivity import PUBLIC, Sensitivity
from rag.core.usage import Usage

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

Program: TypeAlias = Coroutine[Any, Any, T]
"""A coroutine that awaits nothing but operations and other programs."""


class Op(Generic[T]):
    """An awaitable that yields itself to whoever drives the coroutine, and returns its result."""

    __slots__ = ()

    def __await__(self) -> Generator[Op[T], T, T]:
        """Hand the operation to the driver and wait for its result."""
        return (yield self)


class LeafOp(Op[T]):
    """An operation that a backend carries out, in a batch with others of its kind.

    Attributes:
        backend_kind: Which of the engine's backends carries it out by default.
        stage: Name under which it is metered.
    """

    __slots__ = ()
    backend_kind: ClassVar[Literal["llm", "retriever", "engine", "fetcher", "embedder"]]
    stage: str

    @property
    def backend(self) -> Any:
        """The backend that the operation names itself; None for the engine's."""
        raise NotImplementedError

    @property
    def batch_key(self) -> Hashable:
        """What operations of one class and backend must share to run as one batch."""
        return None

    @classmethod
    def run(cls, backend: Any, ops: Sequence[Any]) -> Sequence[T]:
        """Carry out a batch on its backend; results come in the order of the operations."""
        raise NotImplementedError

    @classmethod
    def needs(cls, backend: Any, ops: Sequence[Any], *, tokens: bool) -> list[Reservation]:
        """Return what each operation of a batch needs from its budget.

        Args:
            backend: The backend.
            ops: The batch.
            tokens: Whether a budget limits tokens or money, so that they must be counted.
        """
        return [Reservation()] * len(ops)

    @classmethod
    def usage(cls, result: T) -> Usage:
        """Return what an operation used, without seconds, and without money per token."""
        return Usage()

    @classmethod
    def reads(cls, result: T) -> Sensitivity:
        """Return the tags of what a program learns from a result."""
        return PUBLIC

    @classmethod
    def below(cls, result: T, ceiling: Sensitivity) -> T:
        """Return a result without what is more sensitive than a ceiling."""
        return result

    @classmethod
    def discloses(cls, backend: Any) -> Sensitivity | None:
        """Return the tags that a backend may be told of; None where it may be told anything."""
        return None


class ModelOp(LeafOp[T]):
    """An operation of a language model."""

    __slots__ = ()
    backend_kind = "llm"
    prompt: Prompt
    llm: LLM | None

    @property
    def backend(self) -> LLM | None:
        """The model that the operation names itself; None for the engine's."""
        return self.llm

    @property
    def whole_prompt(self) -> Prompt:
        """All that the model reads."""
        return self.prompt

    @property
    def max_output(self) -> int:
        """The most tokens that the model may write."""
        return 0

    @classmethod
    def needs(cls, backend: LLM, ops: Sequence[Any], *, tokens: bool) -> list[Reservation]:
        """Return one call each, and the tokens and money where they are limited."""
        if not tokens:
            return [Reservation(calls=1)] * len(ops)
        counts = backend.count_tokens([op.whole_prompt for op in ops])
        prices = backend.prices
        costs = [
            prices.cost(count, op.max_output) if prices else 0.0
            for op, count in zip(ops, counts, strict=True)
        ]
        return [Reservation(n, 1, cost) for n, cost in zip(counts, costs, strict=True)]

    @classmethod
    def usage(cls, result: Any) -> Usage:
        """Return the tokens and the call."""
        usage: Usage = result.usage
        return usage


@dataclass(frozen=True, slots=True)
class Generate(ModelOp[Reply]):
    """Have a language model write.

    Args:
        prompt: What it reads.
        sampling: How it writes.
        llm: The model; the engine's unless given.
        stage: Name under which the operation is metered.
    """

    prompt: Prompt
    sampling: Sampling = Sampling()
    llm: LLM | None = None
    stage: str = "generate"

    @property
    def batch_key(self) -> Hashable:
        """Prompts with one way of sampling run together."""
        return self.sampling

    @property
    def max_output(self) -> int:
        """The most tokens that the model may write."""
        return self.sampling.max_tokens * self.sampling.n

    @classmethod
    def run(cls, backend: LLM, ops: Sequence[Generate]) -> Sequence[Reply]:
        """Generate for all prompts at once."""
        return backend.generate([op.prompt for op in ops], ops[0].sampling)


@dataclass(frozen=True, slots=True)
class Score(ModelOp[ContinuationScore]):
    """Ask how likely a language model finds a continuation of a prompt.

    Args:
        prompt: What it reads.
        continuation: What might follow.
        llm: The model; the engine's unless given.
        stage: Name under which the operation is metered.
    """

    prompt: Prompt
    continuation: str
    llm: LLM | None = None
    stage: str = "score"

    @property
    def whole_prompt(self) -> Prompt:
        """The prompt with the continuation, which the model reads too."""
        return replace(self.prompt, reply_prefix=self.prompt.reply_prefix + self.continuation)

    @classmethod
    def run(cls, backend: LLM, ops: Sequence[Score]) -> Sequence[ContinuationScore]:
        """Score all continuations at once."""
        return backend.score([op.prompt for op in ops], [op.continuation for op in ops])


@dataclass(frozen=True, slots=True)
class NextToken(ModelOp[NextTokenScores]):
    """Ask how likely a language model finds each of some tokens as the first of its reply.

    Args:
        prompt: What it reads.
        tokens: The tokens, each exactly one in the model's vocabulary.
        llm: The model; the engine's unless given.
        stage: Name under which the operation is metered.
    """

    prompt: Prompt
    tokens: tuple[str, ...]
    llm: LLM | None = None
    stage: str = "next_token"

    @property
    def batch_key(self) -> Hashable:
        """Prompts with the same tokens run together."""
        return self.tokens

    @classmethod
    def run(cls, backend: LLM, ops: Sequence[NextToken]) -> Sequence[NextTokenScores]:
        """Score the tokens after all prompts at once."""
        return backend.next_token([op.prompt for op in ops], ops[0].tokens)


@dataclass(frozen=True, slots=True)
class CountTokens(ModelOp[int]):
    """Count the tokens of a prompt as a model would read it; uses nothing up.

    Args:
        prompt: The prompt.
        llm: The model; the engine's unless given.
        stage: Name under which the operation is metered.
    """

    prompt: Prompt
    llm: LLM | None = None
    stage: str = "count_tokens"

    @classmethod
    def run(cls, backend: LLM, ops: Sequence[CountTokens]) -> Sequence[int]:
        """Count for all prompts at once."""
        return backend.count_tokens([op.prompt for op in ops])

    @classmethod
    def needs(cls, backend: LLM, ops: Sequence[Any], *, tokens: bool) -> list[Reservation]:
        """Return nothing: no model runs."""
        return [Reservation()] * len(ops)

    @classmethod
    def usage(cls, result: int) -> Usage:
        """Return nothing: no model ran."""
        return Usage()


@dataclass(frozen=True, slots=True)
class Remaining(Op[Allowance]):
    """Ask what is left of the budgets that this program runs under."""


@dataclass(frozen=True, slots=True)
class Note(Op[None]):
    """State what fell short, for the outcome of the question.

    Args:
        text: One sentence; the same one is kept once.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Limited(Op[T]):
    """Run a program under a budget of its own, inside those it is under already.

    Args:
        program: The program or operation.
        budget: What it may use.
    """

    program: Awaitable[T]
    budget: Budget


@dataclass(frozen=True, slots=True)
class Restricted(Op[T]):
    """Run a program that reads nothing more sensitive than a ceiling.

    What operations find above it is left out before the program sees it.

    Args:
        program: The program or operation.
        ceiling: The tags that what it reads may have.
    """

    program: Awaitable[T]
    ceiling: Sensitivity


@dataclass(frozen=True, slots=True)
class Together(Op[tuple[Any, ...]]):
    """Members that run in parallel; made by `together`, which has the precise types."""

    members: tuple[Awaitable[Any], ...]


@overload
def together(a: Awaitable[A], b: Awaitable[B], /) -> Op[tuple[A, B]]: ...
@overload
def together(a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /) -> Op[tuple[A, B, C]]: ...
@overload
def together(*members: Awaitable[T]) -> Op[tuple[T, ...]]: ...
def together(*members: Awaitable[Any]) -> Op[tuple[Any, ...]]:
    """Run operations and programs in parallel and return their results in order.

    Every member runs to its end; then, if some failed, the error of the first of them is raised.
    So what is metered does not depend on the order in which members finish.
    """
    return Together(members)
