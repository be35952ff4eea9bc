"""What a run of pipelines would read, without a model that reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from rag.core.errors import Unsupported
from rag.core.generation import ContinuationScore, NextTokenScores, Prompt, Reply, Sampling
from rag.core.protocols import LLM


class DryRunLLM:
    """Counts tokens as a model does, and writes replies of full length without it.

    Where replies may begin in several ways it takes the first, so a pipeline that asks
    sub-questions asks as many as it may: what a run on it uses is the most that a run on the model
    can, but for how long the model's own sub-questions are.

    Args:
        llm: The model whose tokens are counted.
    """

    def __init__(self, llm: LLM) -> None:
        self.name = f"dry run of {llm.name}"
        self.revision = llm.revision
        self.context_window = llm.context_window
        self.capabilities = llm.capabilities - {"score", "next_token", "logprobs"}
        self.prices = llm.prices
        self._llm = llm
        self._numbers = count(1)

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each prompt; see `LLM.count_tokens`."""
        return self._llm.count_tokens(prompts)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        """Return a different text each time, as long as replies may be."""
        start = (sampling.starts_with or sampling.choices or ("",))[0]
        # Different texts are different sub-questions; few backends spend more than a token a word.
        words = " word" * (sampling.max_tokens // 2)
        return [
            Reply(
                f"{start} {next(self._numbers)}{words}",
                input_tokens=tokens,
                output_tokens=sampling.max_tokens,
            )
            for tokens in self.count_tokens(prompts)
        ]

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str | Reply]:
        """Yield the reply of `generate`."""
        yield self.generate([prompt], sampling)[0]

    def score(
        self, prompts: Sequence[Prompt], continuations: Sequence[str]
    ) -> list[ContinuationScore]:
        """Refuse: nothing is known of how likely a text is."""
        raise Unsupported(self.name, "score", "run the pipeline on the model itself")

    def next_token(self, prompts: Sequence[Prompt], tokens: Sequence[str]) -> list[NextTokenScores]:
        """Refuse: nothing is known of how likely a token is."""
        raise Unsupported(self.name, "next_token", "run the pipeline on the model itself")
