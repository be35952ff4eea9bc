"""What a reply may go on with, token by token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch

from rag.core.errors import InputError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer


class Constraint(Protocol):
    """Says which tokens may come next."""

    def narrow(self, logits: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (vocabulary,), with minus infinity for what may not come next."""

    def take(self, token: int) -> None:
        """Note the token that came."""

    @property
    def settled(self) -> tuple[str, list[int]] | None:
        """The whole reply and its tokens, as soon as nothing else is left to choose."""


class Choice:
    """The reply is one of some texts, found along the tokens that spell them.

    Args:
        texts: The tokens of each text.
        ends: Tokens that end a reply, of which a text that begins another one needs one.
    """

    def __init__(self, texts: Mapping[str, list[int]], ends: frozenset[int]) -> None:
        self._open = dict(texts)
        self._ends = ends
        self._depth = 0

    @property
    def allowed(self) -> list[int]:
        """Tokens that go on with a text, or end one."""
        following = {ids[self._depth] for ids in self._open.values() if len(ids) > self._depth}
        if any(len(ids) == self._depth for ids in self._open.values()):
            following |= self._ends
        return sorted(following)

    def narrow(self, logits: torch.Tensor) -> torch.Tensor:
        """Leave the tokens that go on with a text."""
        return _only(logits, self.allowed)

    def take(self, token: int) -> None:
        """Leave open the texts that go on with a token, or the one that it ends."""
        longer = _going_on(self._open, self._depth, token)
        if longer:
            self._depth += 1
            self._open = longer
        else:
            whole = next(text for text, ids in self._open.items() if len(ids) == self._depth)
            self._open = {whole: self._open[whole]}

    @property
    def settled(self) -> tuple[str, list[int]] | None:
        """The text that is left; the model has no more say."""
        return next(iter(self._open.items())) if len(self._open) == 1 else None


class Beginning:
    """The reply begins with one of some texts and then goes on freely.

    Args:
        texts: The tokens of each text.
    """

    settled = None

    def __init__(self, texts: Mapping[str, list[int]]) -> None:
        self._open = dict(texts)
        self._depth = 0

    def narrow(self, logits: torch.Tensor) -> torch.Tensor:
        """Leave the tokens that go on with a text, until one is whole."""
        if any(len(ids) <= self._depth for ids in self._open.values()):
            return logits
        return _only(logits, sorted({ids[self._depth] for ids in self._open.values()}))

    def take(self, token: int) -> None:
        """Leave open the texts that go on with a token."""
        whole = {text: ids for text, ids in self._open.items() if len(ids) <= self._depth}
        self._open = whole or _going_on(self._open, self._depth, token)
        self._depth += 1


class Schema:
    """The reply is JSON of a schema.

    Args:
        matcher: Follows the reply; at its start.
    """

    settled = None

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def narrow(self, logits: torch.Tensor) -> torch.Tensor:
        """Leave the tokens that the schema's grammar goes on with."""
        mask = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)
        allowed = mask[: len(logits)].bool().to(logits.device)
        allowed = torch.nn.functional.pad(allowed, (0, len(logits) - len(allowed)))
        return logits.where(allowed, -torch.inf)

    def take(self, token: int) -> None:
        """Note the token that came."""
        self._matcher.consume_token(token)


def schema_constraints(tokenizer: LLTokenizer, schema: str) -> Callable[[], Schema]:
    """Return what makes the constraints of one schema, one for each reply.

    Args:
        tokenizer: The model's tokenizer, as llguidance knows it.
        schema: The JSON schema, as text. What is written has no white space between its parts,
            so that no reply can go on with white space for ever.

    Raises:
        InputError: The schema cannot be followed.
    """
    from llguidance import LLMatcher

    grammar = LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": False})
    matcher = LLMatcher(tokenizer, grammar)
    if matcher.is_error():
        raise InputError(f"json_schema cannot be followed: {matcher.get_error()}")
    return lambda: Schema(matcher.deep_copy())


def _going_on(texts: Mapping[str, list[int]], depth: int, token: int) -> dict[str, list[int]]:
    return {text: ids for text, ids in texts.items() if ids[depth : depth + 1] == [token]}


def _only(logits: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    narrowed = torch.full_like(logits, -torch.inf)
    index = torch.tensor(tokens, device=logits.device)
    narrowed[index] = logits[index]
    return narrowed
