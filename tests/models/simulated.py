"""A language model whose calls take as long as a cost model says, by a clock of its own."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from rag.core.generation import Prompt, Reply, Sampling
from rag.models.cost_model import CostModel
from rag.testing.llms import EchoLLM

LAPTOP = CostModel(0.05, 2e-3, 1e-6, 1e-5, 0.03, 2e-6)
"""About what a small model takes on two cores."""


class SimulatedLLM(EchoLLM):
    """Repeats what it is given; keeps the prompt before, and begins where it differs.

    Args:
        true: What calls take.
        noise: Standard deviation of the logarithm of the seconds.
        keeps: Whether it keeps the prompt before.
    """

    def __init__(self, true: CostModel = LAPTOP, noise: float = 0.0, *, keeps: bool = True) -> None:
        super().__init__(name="simulated/one")
        self.now = 0.0
        self._true = true
        self._noise = noise
        self._keeps = keeps
        self._rng = random.Random(0)
        self._before: list[str] = []

    def clock(self) -> float:
        return self.now

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        return [
            self._timed(prompt.user.split(), reply)
            for prompt, reply in zip(prompts, super().generate(prompts, sampling), strict=True)
        ]

    def _timed(self, words: list[str], reply: Reply) -> Reply:
        alike = takewhile(lambda pair: pair[0] == pair[1], zip(words, self._before, strict=False))
        cached = len(list(alike)) if self._keeps else 0
        self._before = words
        seconds = self._true.predict(reply.input_tokens, reply.output_tokens, cached)
        self.now += seconds * self._rng.lognormvariate(0, self._noise)
        return replace(reply, cached_tokens=cached)
