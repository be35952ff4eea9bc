"""Writing replies token by token, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from tokenizers.decoders import DecodeStream

from rag.core.generation import Reply, Sampling
from rag.models.causal import CausalModel


class Draft:
    """A reply being written.

    Args:
        prompt: Tokens of the prompt.
        sampling: How to generate.
        tokenizer: The backend tokenizer, to turn tokens into text.
        end_tokens: Tokens that end a reply.
        choices: Tokens of each of `sampling.choices`.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        tokenizer: Any,
        end_tokens: frozenset[int],
        choices: Mapping[str, list[int]],
    ) -> None:
        self.prompt = prompt
        self.tokens: list[int] = []
        self.text = ""
        self.finish: Literal["stop", "length"] | None = None
        self._sampling = sampling
        self._tokenizer = tokenizer
        self._ends = end_tokens
        self._open = dict(choices)
        self._handed_out = 0
        self._random = np.random.default_rng(sampling.seed)
        # Gives text only once its UTF-8 is complete.
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._settle()

    @property
    def allowed(self) -> list[int]:
        """Tokens that go on with a choice, or end one, while several are open."""
        depth = len(self.tokens)
        following = {ids[depth] for ids in self._open.values() if len(ids) > depth}
        if any(len(ids) == depth for ids in self._open.values()):
            following |= self._ends
        return sorted(following)

    def draw(self) -> float:
        """Return the next random number in [0, 1); the draft's own, whatever its batch."""
        return self._random.random()

    def take(self, token: int) -> None:
        """Append a token."""
        if self._open:
            self._narrow(token)
            return
        self.tokens.append(token)
        if token in self._ends:
            self.finish = "stop"
            return
        known = len(self.text)
        self.text += self._decoder.step(self._tokenizer, token) or ""
        self._cut_at_stop(known)
        if self.finish is None and len(self.tokens) == self._sampling.max_tokens:
            self.finish = "length"

    def _narrow(self, token: int) -> None:
        """Leave open the choices that go on with a token, or the one that it ends."""
        depth = len(self.tokens)
        longer = {
            text: ids for text, ids in self._open.items() if ids[depth : depth + 1] == [token]
        }
        if longer:
            self.tokens.append(token)
            self._open = longer
        else:
            whole = next(text for text, ids in self._open.items() if len(ids) == depth)
            self._open = {whole: self._open[whole]}
        self._settle()

    def _settle(self) -> None:
        """Finish as soon as one choice is left: the model has no more say."""
        if len(self._open) == 1:
            ((self.text, ids),) = self._open.items()
            self.tokens = ids
            self.finish = "stop"

    def _cut_at_stop(self, known: int) -> None:
        """End before the first stop string; the first `known` characters hold no whole one."""
        found = []
        for stop in self._sampling.stop:
            at = self.text.find(stop, max(0, known - len(stop) + 1))
            if at >= 0:
                found.append(at)
        if found:
            self.text = self.text[: min(found)]
            self.finish = "stop"

    def hand_out(self) -> str:
        """Return the text that is new since the last call and cannot become a stop string."""
        held = 0
        if self.finish is None:
            beginnings = (stop[:n] for stop in self._sampling.stop for n in range(1, len(stop)))
            held = max((len(part) for part in beginnings if self.text.endswith(part)), default=0)
        start, self._handed_out = self._handed_out, len(self.text) - held
        return self.text[start : self._handed_out]

    @property
    def reply(self) -> Reply:
        """The reply, once finished."""
        return Reply(
            text=self.text,
            input_tokens=len(self.prompt),
            output_tokens=len(self.tokens),
            finish=self.finish or "stop",
        )


def decode(model: CausalModel, drafts: Sequence[Draft], sampling: Sampling) -> Iterator[None]:
    """Write drafts to their ends, a token of each at every step.

    Rows that are finished leave the batch at once: what that costs, one copy of the cache, a
    step costs as well.
    """
    live = [draft for draft in drafts if draft.finish is None]
    if not live:
        return
    logits, state = model.read([draft.prompt for draft in live])
    while True:
        for draft, token in zip(live, _next_tokens(logits, live, sampling), strict=True):
            draft.take(token)
        yield
        rows = [row for row, draft in enumerate(live) if draft.finish is None]
        if not rows:
            return
        if len(rows) < len(live):
            state.keep(rows)
            live = [live[row] for row in rows]
        logits = model.step(state, [draft.tokens[-1] for draft in live])


def _next_tokens(logits: torch.Tensor, drafts: Sequence[Draft], sampling: Sampling) -> list[int]:
    """Pick a token for each draft: the best, or one drawn from the nucleus."""
    logits = logits.float()
    if sampling.choices:
        allowed = torch.zeros_like(logits, dtype=torch.bool)
        for row, draft in enumerate(drafts):
            allowed[row, draft.allowed] = True
        logits = logits.where(allowed, -torch.inf)
    if sampling.temperature == 0:
        tokens = logits.argmax(-1)
    else:
        draws = logits.new_tensor([[draft.draw()] for draft in drafts])
        tokens = _sample(logits, sampling.temperature, sampling.top_p, draws)
    picked: list[int] = tokens.tolist()
    return picked


def _sample(
    logits: torch.Tensor, temperature: float, top_p: float, draws: torch.Tensor
) -> torch.Tensor:
    """Draw from the smallest set of tokens whose probability reaches `top_p`.

    Nucleus sampling (arXiv 1904.09751, section 3.1), by inverting the distribution function.

    Args:
        logits: Shape (rows, vocabulary).
        temperature: Divides the logits; above 0.
        top_p: Probability the set has to reach.
        draws: Uniform random numbers in [0, 1), shape (rows, 1).
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
