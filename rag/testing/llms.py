"""Language models for tests: no weights, no randomness, answers at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar, get_args

from rag.core.capabilities import Capability, refuse_unsupported
from rag.core.errors import BatchError, ContextOverflow, InputError
from rag.core.generation import (
    ContinuationScore,
    NextTokenScores,
    Prompt,
    Reply,
    Sampling,
    TokenLogprob,
)
from rag.core.usage import Prices

T = TypeVar("T")

# Words that EchoLLM supposes there are beside those of the prompt.
_UNSEEN = 10_000

_CAPABILITIES: frozenset[Capability] = frozenset(get_args(Capability)) - {"json_schema"}


class EchoLLM:
    """A language model that repeats what it is given.

    It replies with the first sentence of the first context, or with the question where there is
    none. Tokens are words between white space. With `choices` the reply is the first of them
    that this text contains, or the first of all; with `starts_with` the text begins with the first
    of those unless it begins with one already. Temperature and seed change nothing. The
    probability of a word is its share of the prompt's words, with add-one smoothing.

    Args:
        name: What the model calls itself.
        context_window: Words of prompt and reply together, at most.
        capabilities: What it can do; by default everything but following a JSON schema.
        prices: What its tokens cost, if anything.

    Attributes:
        calls: What was asked of it, in order: the capability and the prompts.
    """

    def __init__(
        self,
        *,
        name: str = "echo",
        context_window: int = 8192,
        capabilities: Collection[Capability] = _CAPABILITIES,
        prices: Prices | None = None,
    ) -> None:
        self.name = name
        self.revision = "1"
        self.context_window = context_window
        self.capabilities: frozenset[Capability] = frozenset(capabilities)
        self.prices = prices
        self.calls: list[tuple[Capability, tuple[Prompt, ...]]] = []

    def _text(self, prompt: Prompt) -> str:
        """Return the whole reply, before `sampling` shortens it."""
        if not prompt.contexts:
            return prompt.question
        return re.split(r"(?<=[.!?])\s", prompt.contexts[0].strip(), maxsplit=1)[0]

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the words of each prompt."""
        return [len(_words(prompt)) for prompt in prompts]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        """Return a reply to each prompt; see `LLM.generate`."""
        self._begin("generate", prompts, sampling)
        return self._each(
            prompts,
            [sampling.max_tokens] * len(prompts),
            lambda row: self._reply(prompts[row], sampling),
        )

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str | Reply]:
        """Yield the reply word by word, and the whole `Reply` last."""
        self._begin("stream", [prompt], sampling)
        (reply,) = self._each(
            [prompt], [sampling.max_tokens], lambda _: self._reply(prompt, sampling)
        )
        return iter((*_pieces(reply.text), reply))

    def score(
        self, prompts: Sequence[Prompt], continuations: Sequence[str]
    ) -> list[ContinuationScore]:
        """Return the log-probabilities of one continuation for each prompt; see `LLM.score`."""
        self._begin("score", prompts)
        if len(prompts) != len(continuations):
            raise InputError(f"{len(prompts)} prompts but {len(continuations)} continuations")

        def score(row: int) -> ContinuationScore:
            known, words = _words(prompts[row]), continuations[row].split()
            return ContinuationScore(
                tuple(_logprob(word, known) for word in words),
                input_tokens=len(known) + len(words),
            )

        return self._each(prompts, [len(text.split()) for text in continuations], score)

    def next_token(self, prompts: Sequence[Prompt], tokens: Sequence[str]) -> list[NextTokenScores]:
        """Return the log-probability of each of `tokens` as the first word of the reply."""
        self._begin("next_token", prompts)
        for token in tokens:
            if len(token.split()) != 1:
                raise InputError(
                    f"{token!r} is {len(token.split())} tokens of {self.name}, not one"
                )

        def score(row: int) -> NextTokenScores:
            known = _words(prompts[row])
            return NextTokenScores(
                logprobs={token: _logprob(token.strip(), known) for token in tokens},
                input_tokens=len(known),
            )

        return self._each(prompts, [0] * len(prompts), score)

    def _begin(
        self, capability: Capability, prompts: Sequence[Prompt], sampling: Sampling | None = None
    ) -> None:
        refuse_unsupported(self.name, self.capabilities, capability, prompts, sampling)
        self.calls.append((capability, tuple(prompts)))

    def _each(
        self, prompts: Sequence[Prompt], room: Sequence[int], run: Callable[[int], T]
    ) -> list[T]:
        """Run the prompts that fit the window with `room` words more."""
        results: list[Any] = []
        for row, tokens in enumerate(self.count_tokens(prompts)):
            needed = tokens + room[row]
            fits = needed <= self.context_window
            results.append(
                run(row) if fits else ContextOverflow(self.name, needed, self.context_window)
            )
        failures = [result for result in results if isinstance(result, Exception)]
        if failures:
            raise failures[0] if len(results) == 1 else BatchError(results)
        return results

    def _reply(self, prompt: Prompt, sampling: Sampling) -> Reply:
        reply = self._one_reply(prompt, sampling)
        others = (replace(reply, input_tokens=0),) * (sampling.n - 1)
        return replace(reply, others=others)

    def _one_reply(self, prompt: Prompt, sampling: Sampling) -> Reply:
        text = self._text(prompt)
        known = _words(prompt)
        if sampling.choices:
            text = next((each for each in sampling.choices if each in text), sampling.choices[0])
            return _reply(text, known, sampling, "stop")
        if sampling.starts_with and not text.startswith(sampling.starts_with):
            text = f"{sampling.starts_with[0]} {text}"
        pieces = _pieces(text)
        text = "".join(pieces[: sampling.max_tokens])
        stops = [text.find(stop) for stop in sampling.stop if stop in text]
        if stops:
            text = text[: min(stops)]
        cut = len(pieces) > sampling.max_tokens and not stops
        return _reply(text, known, sampling, "length" if cut else "stop")


class ScriptedLLM(EchoLLM):
    """An `EchoLLM` whose replies are given.

    Args:
        replies: A function from prompt to reply, or replies in the order of the prompts.
        options: As `EchoLLM` takes them.
    """

    def __init__(self, replies: Callable[[Prompt], str] | Sequence[str], **options: Any) -> None:
        super().__init__(**{"name": "scripted", **options})
        self._script = replies if callable(replies) else self._in_turn(iter(replies))

    def _in_turn(self, replies: Iterator[str]) -> Callable[[Prompt], str]:
        def reply(prompt: Prompt) -> str:
            for text in replies:
                return text
            raise InputError(f"{self.name}: no reply is left for {prompt.question!r}")

        return reply

    def _text(self, prompt: Prompt) -> str:
        return self._script(prompt)


def _reply(
    text: str, known: Sequence[str], sampling: Sampling, finish: Literal["stop", "length"]
) -> Reply:
    pieces = _pieces(text)
    logprobs: list[TokenLogprob] = []
    if sampling.logprobs is not None:
        for piece in pieces:
            logprob = _logprob(piece.strip(), known)
            top = {piece: logprob} if sampling.logprobs else {}
            logprobs.append(TokenLogprob(piece, logprob, top))
    return Reply(
        text,
        finish,
        tuple(logprobs),
        input_tokens=len(known),
        output_tokens=len(pieces),
    )


def _words(prompt: Prompt) -> list[str]:
    return f"{prompt.system} {prompt.user} {prompt.reply_prefix}".split()


def _pieces(text: str) -> list[str]:
    """Return the words of a text with the white space around them; together they are the text."""
    return re.findall(r"\s*\S+(?:\s+\Z)?", text) or ([text] if text else [])


def _logprob(word: str, known: Sequence[str]) -> float:
    return math.log((known.count(word) + 1) / (len(known) + _UNSEEN))
