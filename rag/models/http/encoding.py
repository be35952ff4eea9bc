"""Prompts as tokens of a llama.cpp server, which has the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag.models.http.transport import Transport
from rag.models.rendering import TurnEncoder, around_turns

# The server takes texts and tokens mixed and passes tokens through, also those that do not exist.
_BETWEEN = -1


class LlamaCppEncoder(TurnEncoder):
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
        self.empty = []  # the server says that there is nothing to read
        self._guard, self._cut = "", 0
        # Some vocabularies put a space before a text; a line break in front, cut off again,
        # makes them read it as the continuation that it is.
        line_break, after_it, alone = self.encode(["\n", "\na", "a"])
        if after_it[len(line_break) :] != alone:
            self._guard, self._cut = "\n", len(line_break)
        self._take_apart()

    def _take_apart(self) -> None:
        without, full = around_turns(self._applied, self._transport.model)
        pieces = self._tokens([*without, *(full or ())], control=True)
        start = self._beginning()
        self.without_system = [start + pieces[0], pieces[1]]
        self.with_system = [start + pieces[2], *pieces[3:]] if full else None

    def _applied(self, turns: Sequence[Mapping[str, str]]) -> str:
        url = f"{self._transport.endpoint.root}/apply-template"
        return str(self._transport.post(url, {"messages": turns})["prompt"])

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
