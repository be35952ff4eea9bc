"""What a run of pipelines would read, without a model that reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from random import Random

from rag.core.errors import Unsupported
from rag.core.generation import ContinuationScore, NextTokenScores, Prompt, Reply, Sampling
from rag.core.protocols import LLM


class DryRunLLM:
    """Counts tokens as a model does, and writes given texts without it.

    Replies count as if each had all the tokens that it may have. Where they may begin in several
    ways it takes the first, so a pipeline that asks sub-questions asks as many as it may. With
    questions of the data set for texts, each of those finds passages of its own.

    Args:
        llm: The model whose tokens are counted.
        texts: What to write, drawn at random; a number before it makes each reply another one.
    """

    def __init__(self, llm: LLM, texts: Sequence[str]) -> None:
        self.name = f"dry run of {llm.name}"
        self.revision = llm.revision
        self.context_window = llm.context_window
        self.capabilities = llm.capabilities - {"score", "next_token", "json_schema", "logprobs"}
        self.prices = llm.prices
        self._llm = llm
        self._texts = texts
        self._numbers = count(1)
        self._random = Random(0)  # noqa: S311 # nothing secret is drawn

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each prompt; see `LLM.count_tokens`."""
        return self._llm.count_tokens(prompts)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        """Return a text for each prompt; see `LLM.generate`."""
        return [
            Reply(
                self._text(sampling),
                input_tokens=tokens,
                output_tokens=sampling.n * sampling.max_tokens,
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

    def _text(self, sampling: Sampling) -> str:
        if sampling.choices:
            return sampling.choices[0]
        text = f"{next(self._numbers)} {self._random.choice(self._texts)}"
        return " ".join((*sampling.starts_with[:1], text))
