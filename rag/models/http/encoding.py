"""Prompts as tokens of a llama.cpp server, which has the tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

from rag.core.errors import ModelError
from rag.core.generation import Prompt
from rag.models.http.transport import Transport

# Private-use characters that stand for the two turns while the template is taken apart.
_SYSTEM, _USER = "\ue000", "\ue001"

# The server takes texts and tokens mixed and passes tokens through, also those that do not exist.
_BETWEEN = -1


class LlamaCppEncoder:
    """Does what `rag.models.rendering.PromptEncoder` does, by asking the server.

    The chat template is applied to placeholders once, and taken apart; the texts of prompts are
    tokenised as they are, with no control token out of them. All texts of a call travel in one
    request.

    Args:
        transport: The server.

    Raises:
        ModelError: The chat template hides the user's text.
        CallFailed: The server did not answer.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._guard, self._cut = "", 0
        # Some vocabularies put a space before a text; a line break in front, cut off again,
        # makes them read it as the continuation that it is.
        line_break, after_it, alone = self.encode(["\n", "\na", "a"])
        if after_it[len(line_break) :] != alone:
            self._guard, self._cut = "\n", len(line_break)
        self._without_system, self._with_system = self._take_apart()

    def _take_apart(self) -> tuple[list[list[int]], list[list[int]]]:
        """Return the template's tokens around the turns: without a system turn, and with one."""
        user = {"role": "user", "content": _USER}
        without = self._rendered([user])
        full = self._rendered([{"role": "system", "content": _SYSTEM}, user])
        head, _, rest = full.partition(_SYSTEM)
        if len(without) > len(head + rest):
            without = head + rest  # left out, the system turn would hold a default
        if without.count(_USER) != 1 or rest.count(_USER) != 1:
            raise ModelError(f"{self._transport.model}: the chat template hides the user's text")
        pieces = [*without.split(_USER), head, *rest.split(_USER)]
        first, tail, first_with, middle, tail_with = self._tokens(pieces, control=True)
        start = self._beginning()
        return [start + first, tail], [start + first_with, middle, tail_with]

    def _rendered(self, messages: Sequence[dict[str, str]]) -> str:
        url = f"{self._transport.endpoint.root}/apply-template"
        return str(self._transport.post(url, {"messages": messages})["prompt"])

    def _beginning(self) -> list[int]:
        """Return the tokens that the model wants before any text."""
        url = f"{self._transport.endpoint.root}/tokenize"
        body = {"content": "", "add_special": True}
        return list(self._transport.post(url, body)["tokens"])

    def _tokens(self, texts: Sequence[str], *, control: bool) -> list[list[int]]:
        """Return the tokens of texts, of which only a template's may hold control tokens."""
        content: list[str | int] = []
        for text in texts:
            content += [text, _BETWEEN]
        url = f"{self._transport.endpoint.root}/tokenize"
        body = {"content": content, "add_special": False, "parse_special": control}
        ids = iter(self._transport.post(url, body)["tokens"])
        return [list(iter(ids.__next__, _BETWEEN)) for _ in texts]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts that follow other text; none of them is a control token."""
        if not texts:
            return []
        guarded = self._tokens([self._guard + text for text in texts], control=False)
        return [ids[self._cut :] for ids in guarded]

    def render(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Return the tokens of each prompt, up to where the reply begins."""
        texts = [part for each in prompts for part in (each.system, each.user, each.reply_prefix)]
        ids = iter(self.encode(texts))
        return [self._assemble(*turns) for turns in zip(ids, ids, ids, strict=True)]

    def _assemble(self, system: list[int], user: list[int], reply: list[int]) -> list[int]:
        if system:
            head, middle, tail = self._with_system
            return [*head, *system, *middle, *user, *tail, *reply]
        head, tail = self._without_system
        return [*head, *user, *tail, *reply]
