"""Backends that do as they are told and remember what they were asked."""

from collections.abc import Callable, Iterator, Sequence

from rag.core.documents import Passage
from rag.core.errors import BatchError
from rag.core.generation import ContinuationScore, NextTokenScores, Prompt, Reply, Sampling
from rag.core.hits import Hit
from rag.core.usage import Prices


class WordLLM:
    """A model whose tokens are words, and whose reply is a function of the question."""

    def __init__(
        self,
        reply: Callable[[str], str] = str.upper,
        *,
        prices: Prices | None = None,
        context_window: int = 10_000,
    ) -> None:
        self.name = "words"
        self.revision = "1"
        self.context_window = context_window
        self.capabilities = frozenset({"generate", "stream", "score", "next_token", "exact_counts"})
        self.prices = prices
        self.reply = reply
        self.batches: list[list[str]] = []

    @property
    def read(self) -> list[str]:
        return [question for batch in self.batches for question in batch]

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        return [len(f"{p.user} {p.reply_prefix}".split()) for p in prompts]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        self.batches.append([p.question for p in prompts])
        results: list[Reply | Exception] = []
        for prompt, tokens in zip(prompts, self.count_tokens(prompts), strict=True):
            try:
                text = self.reply(prompt.question)
            except ValueError as error:
                results.append(error)
            else:
                results.append(Reply(text, input_tokens=tokens, output_tokens=len(text.split())))
        if any(isinstance(each, Exception) for each in results):
            raise BatchError(results)
        return results  # type: ignore[return-value]

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str | Reply]:
        reply = self.generate([prompt], sampling)[0]
        yield from reply.text
        yield reply

    def score(
        self, prompts: Sequence[Prompt], continuations: Sequence[str]
    ) -> list[ContinuationScore]:
        self.batches.append([p.question for p in prompts])
        counts = self.count_tokens(prompts)
        return [
            ContinuationScore((-1.0,) * len(c.split()), input_tokens=n + len(c.split()))
            for n, c in zip(counts, continuations, strict=True)
        ]

    def next_token(self, prompts: Sequence[Prompt], tokens: Sequence[str]) -> list[NextTokenScores]:
        self.batches.append([p.question for p in prompts])
        counts = self.count_tokens(prompts)
        scores = {t: -float(i) for i, t in enumerate(tokens)}
        return [NextTokenScores(logprobs=scores, input_tokens=n) for n in counts]


class WordRetriever:
    """Returns one hit a query, the query itself."""

    name = "words"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def search_many(
        self, queries: Sequence[str], top_k: int, where: object = None
    ) -> list[list[Hit]]:
        self.batches.append(list(queries))
        return [[Hit(Passage(q, q, q, 0, len(q)), 1.0)] for q in queries]
