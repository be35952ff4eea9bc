"""Replies being written: what they hold so far, and how their next tokens are picked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Literal

import numpy as np
import torch
from tokenizers.decoders import DecodeStream

from rag.core.generation import Reply, Sampling, TokenLogprob
from rag.models.constraints import Constraint
from rag.models.stops import GrowingText


class Draft:
    """A reply being written.

    Args:
        prompt: Tokens of the prompt, in a form that has a length.
        sampling: How to generate.
        tokenizer: The backend tokenizer, to turn tokens into text.
        end_tokens: Tokens that end a reply.
        constraint: What may come next; None for anything.
        sample: Which of the replies of a prompt this is, counted from 0.
        streamed: Whether its text is wanted piece by piece.
    """

    def __init__(
        self,
        prompt: Any,
        sampling: Sampling,
        tokenizer: Any,
        end_tokens: frozenset[int],
        constraint: Constraint | None = None,
        *,
        sample: int = 0,
        streamed: bool = False,
    ) -> None:
        self.prompt = prompt
        self.sampling = sampling
        self.constraint = constraint
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprob] = []
        self.cached_tokens = 0
        self.finish: Literal["stop", "length"] | None = None
        self.error: Exception | None = None
        self.cancelled = False
        self.done = threading.Event()
        self.pieces: SimpleQueue[str | None] | None = SimpleQueue() if streamed else None
        self._tokenizer = tokenizer
        self._ends = end_tokens
        self._written = GrowingText(() if sampling.choices else sampling.stop)
        self._ready = ""
        seed = None if sampling.seed is None else [sampling.seed, sample]
        self._random = np.random.default_rng(seed)
        # Gives text only once its UTF-8 is complete.
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._settle()

    def draw(self) -> float:
        """Return the next random number in [0, 1); the draft's own, whatever its batch."""
        return self._random.random()

    def take(self, token: int) -> None:
        """Append a token."""
        if self.constraint:
            self.constraint.take(token)
        self.tokens.append(token)
        if self.sampling.choices:
            self._settle()
            return
        if token in self._ends:
            self.finish = "stop"
            return
        self._ready += self._written.add(self._decoder.step(self._tokenizer, token) or "")
        if self._written.stopped:
            self.finish = "stop"
        elif len(self.tokens) == self.sampling.max_tokens:
            self.finish = "length"

    def _settle(self) -> None:
        """Finish as soon as the constraint leaves nothing to choose."""
        if self.constraint and self.constraint.settled:
            self._written.text, self.tokens = self.constraint.settled
            self.finish = "stop"

    @property
    def text(self) -> str:
        """What is written, up to the first stop string."""
        return self._written.text

    def hand_out(self) -> str:
        """Return the text that is new since the last call and cannot become a stop string."""
        ready, self._ready = self._ready, ""
        return ready + (self._written.rest() if self.finish else "")

    def end(self) -> None:
        """Tell whoever waits that there is no more to come."""
        if self.pieces:
            if piece := self.hand_out():
                self.pieces.put(piece)
            self.pieces.put(None)
        self.done.set()

    @property
    def reply(self) -> Reply:
        """The reply, once finished."""
        return Reply(
            self.text,
            self.finish or "stop",
            tuple(self.logprobs),
            input_tokens=len(self.prompt),
            cached_tokens=self.cached_tokens,
            output_tokens=len(self.tokens),
        )


def pick_tokens(
    logits: torch.Tensor, drafts: Sequence[Draft], text_of: Callable[[int], str]
) -> list[int]:
    """Pick a token for each draft: the best, or one drawn from the nucleus.

    Args:
        logits: Shape (drafts, vocabulary).
        drafts: The drafts; the log-probabilities that they ask for are noted in them.
        text_of: The text of a token.
    """
    logits = logits.float()
    narrowed = logits
    constrained = [row for row, draft in enumerate(drafts) if draft.constraint]
    if constrained:
        narrowed = logits.clone()
        for row in constrained:
            narrowed[row] = drafts[row].constraint.narrow(logits[row])  # type: ignore[union-attr] # just checked
    tokens = narrowed.argmax(-1)
    drawn = [row for row, draft in enumerate(drafts) if draft.sampling.temperature > 0]
    if drawn:
        asked = [
            (each.sampling.temperature, each.sampling.top_p, each.draw())
            for each in (drafts[row] for row in drawn)
        ]
        temperature, top_p, draws = logits.new_tensor(asked)[:, :, None].unbind(1)
        tokens[drawn] = _sample(narrowed[drawn], temperature, top_p, draws)
    picked: list[int] = tokens.tolist()
    for row, draft in enumerate(drafts):
        if draft.sampling.logprobs is not None:
            draft.logprobs.append(
                _logprob(logits[row], picked[row], draft.sampling.logprobs, text_of)
            )
    return picked


def _logprob(
    logits: torch.Tensor, token: int, top: int, text_of: Callable[[int], str]
) -> TokenLogprob:
    logprobs = logits - logits.logsumexp(-1)
    best = logprobs.topk(min(top, len(logprobs)))
    return TokenLogprob(
        text_of(token),
        float(logprobs[token]),
        {
            text_of(each): logprob
            for each, logprob in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        },
    )


def _sample(
    logits: torch.Tensor, temperature: torch.Tensor, top_p: torch.Tensor, draws: torch.Tensor
) -> torch.Tensor:
    """Draw from the smallest set of tokens whose probability reaches `top_p`.

    Nucleus sampling (arXiv 1904.09751, section 3.1), by inverting the distribution function.

    Args:
        logits: Shape (rows, vocabulary).
        temperature: Divides the logits; above 0; shape (rows, 1).
        top_p: Probability the set has to reach; shape (rows, 1).
        draws: Uniform random numbers in [0, 1); shape (rows, 1).
    """
    # The largest logit becomes 0, so that no temperature makes it overflow.
    scaled = (logits - logits.amax(-1, keepdim=True)) / temperature
    probabilities, tokens = scaled.softmax(-1).sort(stable=True, dim=-1, descending=True)
    before = probabilities.cumsum(-1) - probabilities
    inside = (before < top_p) & (probabilities > 0)
    cumulative = probabilities.where(inside, 0).cumsum(-1)
    place = torch.searchsorted(cumulative, draws * cumulative[:, -1:], right=True)
    last = inside.sum(-1, keepdim=True) - 1
    return tokens.gather(-1, place.minimum(last))[:, 0]
