"""From prompts to the tokens that a model reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rag.core.errors import ModelError
from rag.core.generation import Prompt

# Private-use characters that stand for the two turns while the template is taken apart.
_SYSTEM, _USER = "\ue000", "\ue001"


class TurnEncoder(ABC):
    """Puts prompts between the tokens of a chat template.

    Attributes:
        without_system: The template's tokens before and after the user's turn.
        with_system: Those before the system turn, between the turns and after them; None for a
            template without a system turn: its user's turn begins with the system text.
        empty: What stands for a prompt without any token.
    """

    without_system: list[list[int]]
    with_system: list[list[int]] | None
    empty: list[int]

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts that follow other text; none of them is a control token."""

    def render(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Return the tokens of each prompt, up to where the reply begins."""
        texts: list[str] = []
        for prompt in prompts:
            system, user = prompt.system, prompt.user
            if system and self.with_system is None:
                system, user = "", f"{system}\n\n{user}"
            texts += (system, user, prompt.reply_prefix)
        ids = iter(self.encode(texts))
        return [self._assemble(*turns) for turns in zip(ids, ids, ids, strict=True)]

    def _assemble(self, system: list[int], user: list[int], reply: list[int]) -> list[int]:
        if system and self.with_system is not None:
            head, middle, tail = self.with_system
            return [*head, *system, *middle, *user, *tail, *reply]
        head, tail = self.without_system
        return [*head, *user, *tail, *reply] or self.empty


def around_turns(
    apply: Callable[[Sequence[Mapping[str, str]]], str], model: str
) -> tuple[list[str], list[str] | None]:
    """Take a chat template apart.

    Args:
        apply: Returns the template's text for turns, up to the reply; '' for turns it refuses.
        model: Whose template it is, for errors.

    Returns:
        The text before and after the user's turn; and that before the system turn, between the
        turns and after them, or None for a template without a system turn.

    Raises:
        ModelError: The template hides the user's text.
    """
    user = {"role": "user", "content": _USER}
    without = apply([user])
    full = apply([{"role": "system", "content": _SYSTEM}, user])
    head, found, rest = full.partition(_SYSTEM)
    if found and len(without) > len(head + rest):
        without = head + rest  # left out, the system turn would hold a default
    if without.count(_USER) != 1 or (found and rest.count(_USER) != 1):
        raise ModelError(f"{model}: the chat template hides the user's text")
    return without.split(_USER), [head, *rest.split(_USER)] if found else None


class PromptEncoder(TurnEncoder):
    """Puts prompts into a model's chat template, as tokens.

    The template is rendered once, around placeholders; what it writes itself is tokenised with
    its control tokens. The texts of a prompt are tokenised apart from it, as they are, by a
    tokenizer that knows no control tokens: '<|im_end|>' in a retrieved text is seven harmless
    tokens and cannot end a turn.

    - No hidden prompts: with `system=''` the system turn is left out; where leaving it out makes
      the template write a default of its own, an empty turn takes its place.
    - A template without a system turn gets the system text at the start of the user's turn.
    - `reply_prefix` follows the template's opening of the assistant's turn.
    - Without a chat template the prompt is system text, blank line, user text, and `reply_prefix`
      directly after it.

    Args:
        tokenizer: A fast tokenizer of transformers.

    Raises:
        ModelError: The tokenizer is not a fast one, or its template hides the user's text.
    """

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        if not tokenizer.is_fast:
            raise ModelError(f"{tokenizer.name_or_path}: needs a fast tokenizer (tokenizer.json)")
        self.backend = tokenizer.backend_tokenizer
        # The same vocabulary without any added token; shares the model, so it costs nothing.
        self._plain = Tokenizer(self.backend.model)
        self._plain.normalizer = self.backend.normalizer
        self._plain.pre_tokenizer = self.backend.pre_tokenizer
        # SentencePiece vocabularies put a space before a text; a line break in front, cut off
        # again, makes them read it as the continuation that it is.
        line_break = self._plain.encode("\n", add_special_tokens=False).ids
        follows = self._plain.encode("\na", add_special_tokens=False).ids[len(line_break) :]
        spaced = self._plain.encode("a", add_special_tokens=False).ids != follows
        self._guard, self._cut = ("\n", len(line_break)) if spaced else ("", 0)

        self._anchor = follows[-1]
        # A model has to read something; scoring harnesses start empty prompts this way, too.
        self.empty = [tokenizer.eos_token_id or 0]
        if tokenizer.chat_template is None:
            first = tokenizer("").input_ids[:1]
            bos = [tokenizer.bos_token_id]
            self.without_system = [first if first == bos else [], []]
            self.with_system = None
        else:
            self._take_apart(tokenizer)

    def _take_apart(self, tokenizer: Any) -> None:
        from jinja2 import TemplateError

        def apply(turns: Sequence[Mapping[str, str]]) -> str:
            try:
                text: str = tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=True
                )
            except TemplateError:
                return ""
            return text

        def tokens(piece: str) -> list[int]:
            ids: list[int] = tokenizer(piece, add_special_tokens=False).input_ids
            return ids

        without, full = around_turns(apply, tokenizer.name_or_path)
        self.without_system = list(map(tokens, without))
        self.with_system = list(map(tokens, full)) if full else None

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts that follow other text; none of them is a control token.

        Unpaired surrogates, which no tokenizer can read, count as U+FFFD.
        """
        encodings = self._plain.encode_batch_fast(
            [self._guard + _valid(text) for text in texts], add_special_tokens=False
        )
        return [encoding.ids[self._cut :] for encoding in encodings]

    def text_of(self, token: int) -> str:
        """Return the text of one token where it follows others; U+FFFD for parts of characters."""
        before, both = (
            self.backend.decode(ids, skip_special_tokens=False)
            for ids in ([self._anchor], [self._anchor, token])
        )
        return str(both[len(before) :])


def _valid(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
