"""A language model whose deterministic calls are made once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from rag.core.capabilities import refuse_unsupported
from rag.core.errors import BatchError, InputError, ModelError
from rag.core.generation import (
    ContinuationScore,
    ModelCall,
    NextTokenScores,
    Prompt,
    Reply,
    Sampling,
    TokenLogprob,
)
from rag.core.protocols import LLM
from rag.models.result_file import ResultFile

R = TypeVar("R", bound=ModelCall)

_FORMAT = 1
"""Counts up when what is kept changes its meaning; results of other formats are not used."""


class CachedLLM:
    """A language model that keeps the results of deterministic calls in a file.

    A call made before, in this process or another, comes from the file: its result says
    `from_cache`, counts all its input as cached, and costs no money. Token counts stay those of the
    first call, so budgets and effective context length do not depend on what was kept.

    - Greedy and seeded replies are kept, and all scores; sampling without a seed passes through.
    - Results belong to the model's name and `revision`, which has to change with whatever
      changes them: weights, number format, the way prompts are rendered.
    - In a batch, what is not kept goes to the model in one call, each different question once.
    - Errors and streams that were left early are not kept.
    - The file grows until `clear`; it may be deleted while nobody uses it.

    Threads and processes may share a file, and calls run side by side if the model's own do.

    Args:
        llm: The model.
        path: The SQLite file; created if it is not there. It holds prompts and replies as text.

    Raises:
        StorageError: The file cannot be used, or is something else. So do all methods.
    """

    def __init__(self, llm: LLM, path: str | Path) -> None:
        self.name = llm.name
        self.revision = llm.revision
        self.context_window = llm.context_window
        self.capabilities = llm.capabilities
        self.prices = llm.prices
        self._llm = llm
        self._file = ResultFile(Path(path))

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each prompt; see `LLM.count_tokens`."""
        return self._llm.count_tokens(prompts)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        """Return a reply to each prompt; see `LLM.generate`."""
        if not sampling.deterministic:
            return self._llm.generate(prompts, sampling)
        refuse_unsupported(self.name, self.capabilities, "generate", prompts, sampling)
        return self._results(
            [self._asked("generate", prompt, asdict(sampling)) for prompt in prompts],
            _reply,
            lambda rows: self._llm.generate([prompts[row] for row in rows], sampling),
        )

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str | Reply]:
        """Yield pieces of text, a kept reply's in one, and the whole `Reply` last."""
        if not sampling.deterministic:
            return self._llm.stream(prompt, sampling)
        refuse_unsupported(self.name, self.capabilities, "stream", [prompt], sampling)
        # `generate` would reply the same: what one of them kept serves the other.
        asked = self._asked("generate", prompt, asdict(sampling))
        if reply := self._kept([asked], _reply).get(asked):
            return iter((reply.text, reply) if reply.text else (reply,))
        return self._keeping(asked, self._llm.stream(prompt, sampling))

    def score(
        self, prompts: Sequence[Prompt], continuations: Sequence[str]
    ) -> list[ContinuationScore]:
        """Return the log-probabilities of one continuation for each prompt; see `LLM.score`."""
        refuse_unsupported(self.name, self.capabilities, "score", prompts)
        if len(prompts) != len(continuations):
            raise InputError(f"{len(prompts)} prompts but {len(continuations)} continuations")
        return self._results(
            list(map(self._asked, ["score"] * len(prompts), prompts, continuations)),
            _score,
            lambda rows: self._llm.score(
                [prompts[row] for row in rows], [continuations[row] for row in rows]
            ),
        )

    def next_token(self, prompts: Sequence[Prompt], tokens: Sequence[str]) -> list[NextTokenScores]:
        """Return the log-probability of each of `tokens` as the first; see `LLM.next_token`."""
        refuse_unsupported(self.name, self.capabilities, "next_token", prompts)
        return self._results(
            [self._asked("next_token", prompt, list(tokens)) for prompt in prompts],
            _next_token,
            lambda rows: self._llm.next_token([prompts[row] for row in rows], tokens),
        )

    def clear(self) -> None:
        """Drop what was kept, of every model that shares the file."""
        self._file.clear()

    def _asked(self, method: str, prompt: Prompt, details: Any) -> str:
        """Return everything that a result depends on, as JSON in one spelling."""
        parts = [_FORMAT, self.name, self.revision, method, asdict(prompt), details]
        return json.dumps(parts, sort_keys=True)

    def _results(
        self,
        asked: Sequence[str],
        parse: Callable[[Any], R],
        run: Callable[[Sequence[int]], Sequence[R]],
    ) -> list[R]:
        """Return what is kept; run, and keep, the first asking of everything else.

        Args:
            asked: What each item asks.
            parse: Makes a result of its JSON.
            run: Has the model compute the items with the given numbers.

        Raises:
            BatchError: Some of several items failed.
        """
        known: dict[str, Any] = dict(self._kept(asked, parse))
        first: dict[str, int] = {}
        for row, each in enumerate(asked):
            if each not in known:
                first.setdefault(each, row)
        fresh = dict(zip(first, _computed(run, list(first.values())), strict=True))
        known.update(fresh)
        known.update(self._keep(fresh, parse))
        results = [
            fresh[each] if first.get(each) == row else known[each] for row, each in enumerate(asked)
        ]
        failures = [each for each in results if isinstance(each, Exception)]
        if failures:
            raise failures[0] if len(results) == 1 else BatchError(results)
        return results

    def _keep(self, fresh: Mapping[str, Any], parse: Callable[[Any], R]) -> dict[str, R]:
        """Keep the results among them, and return those as they will come back."""
        texts = {
            asked: json.dumps(asdict(result))
            for asked, result in fresh.items()
            if not isinstance(result, Exception)
        }
        if texts:
            self._file.write(texts)
        return {asked: parse(json.loads(text)) for asked, text in texts.items()}

    def _kept(self, asked: Sequence[str], parse: Callable[[Any], R]) -> dict[str, R]:
        try:
            texts = self._file.read(asked)
            return {each: parse(json.loads(text)) for each, text in texts.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise self._file.unusable(f"a result in it cannot be read: {error!r}") from error

    def _keeping(self, asked: str, pieces: Iterator[str | Reply]) -> Iterator[str | Reply]:
        for piece in pieces:
            if isinstance(piece, Reply):
                self._keep({asked: piece}, _reply)
            yield piece


def _computed(run: Callable[[Sequence[int]], Sequence[R]], rows: Sequence[int]) -> Sequence[Any]:
    """Return a result or an error for each of some items."""
    try:
        return run(rows) if rows else []
    except BatchError as error:
        return error.results
    except ModelError as error:
        # Asked for one item, the model raises what failed; the batch around it may have more.
        if len(rows) > 1:
            raise
        return [error]


def _reply(fields: dict[str, Any]) -> Reply:
    logprobs = tuple(TokenLogprob(**each) for each in fields["logprobs"])
    others = tuple(map(_reply, fields["others"]))
    return Reply(**{**_hit(fields), "logprobs": logprobs, "others": others})


def _score(fields: dict[str, Any]) -> ContinuationScore:
    return ContinuationScore(**{**_hit(fields), "token_logprobs": tuple(fields["token_logprobs"])})


def _next_token(fields: dict[str, Any]) -> NextTokenScores:
    return NextTokenScores(**{**_hit(fields), "missing": tuple(fields["missing"])})


def _hit(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a result as they are when nothing had to be computed."""
    return {**fields, "cached_tokens": fields["input_tokens"], "retries": 0, "from_cache": True}
