"""Prompts asked for side by side, each with a result or an error of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from rag.core.errors import BatchError, ContextOverflow, ModelError
from rag.models.http.failures import Failure
from rag.models.http.requests import Body, Rendered
from rag.models.http.transport import Answer, Transport

T = TypeVar("T")


class Calls:
    """Makes the requests of prompts, and results of the answers.

    Args:
        transport: The server.
        window: Tokens of prompt and reply together, at most.
    """

    def __init__(self, transport: Transport, window: int) -> None:
        self._transport = transport
        self._window = window

    def url(self, prompt: Rendered) -> str:
        """Return the address that takes a prompt."""
        path = "chat/completions" if prompt.chat else "completions"
        return f"{self._transport.endpoint.base}/{path}"

    def overflow(self, prompt: Rendered, room: int) -> ContextOverflow | None:
        """Return the error of a prompt that does not fit the window with its reply, if so."""
        needed = prompt.tokens + room
        if needed <= self._window:
            return None
        return ContextOverflow(self._transport.model, needed, self._window)

    def each(
        self,
        prompts: Sequence[Rendered],
        room: int,
        bodies: Sequence[list[Body]],
        read: Callable[[int, list[Body]], T],
    ) -> list[T]:
        """Ask for the prompts that fit the window, side by side.

        Args:
            prompts: The prompts.
            room: Tokens that a reply needs.
            bodies: The requests of each prompt.
            read: Makes a prompt's result of the answers to its requests.

        Raises:
            ModelError: There is one prompt and it failed.
            BatchError: Some of several failed.
        """
        results: list[Any] = [self.overflow(prompt, room) for prompt in prompts]
        rows = [row for row, overflow in enumerate(results) if overflow is None]
        requests = [(self.url(prompts[row]), body) for row in rows for body in bodies[row]]
        answers = iter(self._transport.post_all(requests))
        for row in rows:
            own = [next(answers) for _ in bodies[row]]
            results[row] = self.result(own, partial(read, row))
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise failures[0] if len(results) == 1 else BatchError(results)
        return results

    def result(
        self, answers: Sequence[Answer | ModelError], read: Callable[[list[Body]], Any]
    ) -> Any:
        """Return a prompt's result, or the error that it met."""
        data, retries = [], 0
        for answer in answers:
            if isinstance(answer, ModelError):
                return answer
            data.append(answer.data)
            retries += answer.retries
        try:
            return replace(read(data), retries=retries)
        except Failure as failure:
            return self._transport.failed(failure, retries + 1)
        except ModelError as error:  # of counting what the server did not
            return error
