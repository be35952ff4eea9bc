"""How prompts are given to a server: as tokens, or as messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from rag.core.errors import CallFailed, ModelError
from rag.core.extras import require
from rag.core.generation import Prompt
from rag.models.http.encoding import LlamaCppEncoder
from rag.models.http.requests import Rendered, estimate_messages, estimate_tokens
from rag.models.http.servers import GenericServer, LlamaCppServer, VLLMServer
from rag.models.http.transport import Answer, Transport
from rag.models.rendering import PromptEncoder, TurnEncoder


class Renderer(Protocol):
    """Turns prompts into what a server is given."""

    def render(self, prompts: Sequence[Prompt]) -> list[Rendered]:
        """Return each prompt as a server is given it."""

    def ids(self, texts: Sequence[str]) -> list[list[int]] | None:
        """Return the tokens of texts in a reply; None where they cannot be known."""

    def count(self, text: str) -> int:
        """Return the tokens of a reply's text."""


class Tokens:
    """Prompts are sent as tokens: exact counts, and no control token out of a prompt's texts.

    Args:
        encoder: Who knows the tokens.
    """

    def __init__(self, encoder: TurnEncoder) -> None:
        self._encoder = encoder

    def render(self, prompts: Sequence[Prompt]) -> list[Rendered]:
        """Return each prompt as its tokens."""
        return [Rendered({"prompt": ids}, len(ids), True) for ids in self._encoder.render(prompts)]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts in a reply."""
        return self._encoder.encode(texts)

    def count(self, text: str) -> int:
        """Return the tokens of a reply's text."""
        return len(self._encoder.encode([text])[0])


class Messages:
    """Prompts are sent as messages, which a server of unknown make puts into its template.

    Tokens are estimated: a third of the bytes, and some for each message.
    """

    def render(self, prompts: Sequence[Prompt]) -> list[Rendered]:
        """Return each prompt as messages."""
        return [
            Rendered(
                {"messages": turns}, estimate_messages(*(turn["content"] for turn in turns)), False
            )
            for turns in map(messages, prompts)
        ]

    def ids(self, texts: Sequence[str]) -> None:
        """Return nothing: the server's tokens are not known."""

    def count(self, text: str) -> int:
        """Return an estimate of the tokens of a reply's text."""
        return estimate_tokens(text)


class CountedMessages:
    """Prompts are sent as messages to vLLM, which counts their tokens when asked.

    Where leaving the system turn out makes the template write a default of its own, an empty
    turn takes its place; a template without a system turn gets the system text at the start of
    the user's turn.

    Args:
        transport: The server.
        model: The model's name there.
    """

    def __init__(self, transport: Transport, model: str) -> None:
        self._transport = transport
        self._model = model
        bare = Prompt("a")
        (without,) = self._tokenized([{"messages": messages(bare)}])
        try:
            (empty,) = self._tokenized([{"messages": messages(bare, silent=True)}])
        except CallFailed as error:
            if error.status != 400:  # what the template itself raises
                raise
            self._system_turn, self._silent = False, False
        else:
            self._system_turn, self._silent = True, empty["count"] < without["count"]

    def render(self, prompts: Sequence[Prompt]) -> list[Rendered]:
        """Return each prompt as messages, and what makes the server go on after the last."""
        bodies = [self._body(prompt) for prompt in prompts]
        return [
            Rendered(body, int(answer["count"]), True)
            for body, answer in zip(bodies, self._tokenized(bodies), strict=True)
        ]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts in a reply."""
        bodies = [{"prompt": text, "add_special_tokens": False} for text in texts]
        return [list(each["tokens"]) for each in self._tokenized(bodies)]

    def count(self, text: str) -> int:
        """Return the tokens of a reply's text."""
        return len(self.ids([text])[0])

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        turns = messages(prompt, system_turn=self._system_turn, silent=self._silent)
        if not prompt.reply_prefix:
            return {"messages": turns}
        turns.append({"role": "assistant", "content": prompt.reply_prefix})
        going_on = {"add_generation_prompt": False, "continue_final_message": True}
        return {"messages": turns, **going_on}

    def _tokenized(self, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        url = f"{self._transport.endpoint.root}/tokenize"
        answers = self._transport.post_all([(url, {"model": self._model, **b}) for b in bodies])
        for answer in answers:
            if isinstance(answer, ModelError):
                raise answer
        return [answer.data for answer in answers if isinstance(answer, Answer)]


def messages(
    prompt: Prompt, *, system_turn: bool = True, silent: bool = False
) -> list[dict[str, str]]:
    """Return the turns of a prompt.

    Args:
        prompt: The prompt; its reply prefix is left out.
        system_turn: Whether the system text has a turn of its own.
        silent: Whether a system turn without text takes the place of none.
    """
    system, user = prompt.system, prompt.user
    if system and not system_turn:
        system, user = "", f"{system}\n\n{user}"
    turns = [{"role": "user", "content": user}]
    if system or silent:
        turns.insert(0, {"role": "system", "content": system})
    return turns


def renderer(
    server: GenericServer, transport: Transport, model: str, tokenizer: str | Path | None
) -> Renderer:
    """Return how prompts are given to a server.

    Args:
        server: The kind of server.
        transport: The server.
        model: The model's name there.
        tokenizer: A folder with the model's tokenizer, if there is one here.

    Raises:
        ModelError: There is no tokenizer in the folder, or a chat template cannot be used.
        MissingExtra: The extra `local`, which a tokenizer here needs, is not installed.
    """
    if tokenizer is not None:
        return local_tokens(tokenizer)
    if isinstance(server, LlamaCppServer):
        return Tokens(LlamaCppEncoder(transport))
    if isinstance(server, VLLMServer):
        return CountedMessages(transport, model)
    return Messages()


def local_tokens(folder: str | Path) -> Tokens:
    """Return the renderer of a local tokenizer.

    Args:
        folder: A folder with the tokenizer of the server's model, in Hugging Face's format.

    Raises:
        ModelError: There is no such tokenizer.
        MissingExtra: The extra `local` is not installed.
    """
    transformers = require("transformers", extra="local", needed_for="a local tokenizer")
    from rag.models.quiet import quiet

    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(Path(folder), **options)
    except Exception as error:  # broken files raise anything at all
        raise ModelError(f"{folder}: no tokenizer that can be loaded: {error}") from error
    return Tokens(PromptEncoder(tokenizer))
