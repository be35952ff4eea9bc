"""A language model behind an OpenAI-compatible HTTP server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rag.core.capabilities import Capability, refuse_unsupported
from rag.core.errors import (
    CallFailed,
    InputError,
    ModelError,
    ModelNotFound,
    Unsupported,
)
from rag.core.generation import ContinuationScore, NextTokenScores, Prompt, Reply, Sampling
from rag.core.usage import Prices
from rag.models.http import replies, requests
from rag.models.http.calls import Calls
from rag.models.http.endpoint import endpoint
from rag.models.http.failures import Failure
from rag.models.http.prompts import renderer
from rag.models.http.requests import Body, Rendered
from rag.models.http.servers import recognise
from rag.models.http.streams import StreamedAnswer
from rag.models.http.transport import Answer, Transport
from rag.models.stops import GrowingText


class OpenAICompatibleLLM:
    """A language model behind a server that speaks OpenAI's HTTP interface.

    Nothing is contacted but that server. What it announces in its list of models says which kind
    it is, and so what it can do (`capabilities`) and how it is asked:

    - llama.cpp: prompts are rendered with the server's template and sent as tokens of its
      tokenizer. Counts are exact, and no text of a prompt becomes a control token.
    - vLLM: prompts are sent as messages and counted by the server. Given a `tokenizer`, they are
      sent as tokens instead, with which no text of a prompt becomes a control token, and
      continuations can be scored.
    - any other: prompts are sent as messages and their tokens estimated; refused is what such a
      server could ignore unnoticed. Given a `tokenizer`, they are sent as tokens, if the server
      has '/completions'.

    Several threads may call at once; the prompts of a batch are asked for side by side. With a
    seed and several replies, reply number i has the seed `seed + i`.

    Args:
        base_url: The server's address, as a rule ending in '/v1'.
        model: The model's name on the server; None for the only one it has.
        name: What the model calls itself in results and errors; `model` by default.
        revision: Version of the model's weights, if you know it; the server's address by default.
            Kept replies and times are those of one revision.
        tokenizer: A folder with the model's tokenizer in Hugging Face's format; needs the extra
            `local`.
        context_window: Tokens of prompt and reply together, at most; vLLM and llama.cpp announce
            it.
        concurrency: Requests in flight at most.
        timeout: Seconds for an answer, or for the next piece of a stream. A request that took
            longer is not made again.
        max_attempts: Attempts at a request that fails in a way that may pass: no connection, or
            status 408, 429, 500, 502, 503 or 504.
        api_key_env: Environment variable with the API key, read once, now. Without it no key is
            sent.
        prices: What tokens cost, if they cost money.

    Raises:
        InputError: An argument cannot be used, or the window is not known.
        ModelNotFound: The server does not have the model, or several and none is named.
        CallFailed: The server does not answer.
        MissingExtra: The extra `http`, or `local` for a tokenizer, is not installed.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        *,
        name: str | None = None,
        revision: str | None = None,
        tokenizer: str | Path | None = None,
        context_window: int | None = None,
        concurrency: int = 32,
        timeout: float = 600.0,
        max_attempts: int = 4,
        api_key_env: str = "RAG_API_KEY",
        prices: Prices | None = None,
    ) -> None:
        if concurrency < 1 or max_attempts < 1 or not timeout > 0:
            raise InputError("concurrency, max_attempts and timeout must be above 0")
        server = endpoint(base_url, api_key_env)
        self.revision = revision or server.base
        self.prices = prices
        self._transport = Transport(
            server,
            name or model or base_url,
            concurrency=concurrency,
            timeout=timeout,
            max_attempts=max_attempts,
        )
        try:
            self._model, entry, self._server = recognise(self._listed(), model, base_url)
            self.name = self._transport.model = name or self._model
            window = context_window or self._server.window(entry)
            if not isinstance(window, int):
                raise InputError(f"{self.name}: the server states no window; give context_window")
            self.context_window = window
            self._calls = Calls(self._transport, window)
            self.capabilities = self._server.capabilities(tokenizer=tokenizer is not None)
            self._renderer = renderer(self._server, self._transport, self._model, tokenizer)
        except BaseException:
            self.close()
            raise

    def _listed(self) -> list[dict[str, Any]]:
        """Return the entries of the server's list of models; none if it has no list."""
        url = f"{self._transport.endpoint.base}/models"
        try:
            entries = self._transport.get(url).get("data")
        except (CallFailed, ModelNotFound) as error:
            if getattr(error, "status", 404) not in (404, 405):
                raise
            return []
        return [each for each in entries or () if isinstance(each, dict)]

    def close(self) -> None:
        """End what is in flight, all connections and the thread that held them."""
        self._transport.close()

    def __enter__(self) -> Self:
        """Return the backend."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the backend."""
        self.close()

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the tokens of each prompt; estimates without 'exact_counts'."""
        return [each.tokens for each in self._renderer.render(prompts)]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        """Return a reply to each prompt; see `LLM.generate`.

        Raises:
            CallFailed: The server did not answer the only prompt as it should.
        """
        self._check("generate", prompts, sampling)
        rendered = self._renderer.render(prompts)
        bodies = [
            requests.generation(self._model, self._server, prompt, sampling) for prompt in rendered
        ]

        def read(row: int, answers: list[Body]) -> Reply:
            return self._reply(rendered[row], sampling, answers)

        return self._calls.each(rendered, sampling.max_tokens, bodies, read)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[str | Reply]:
        """Yield pieces of text as they are written, and the whole `Reply` last.

        No piece holds a part of a stop string; of several replies they are the first one's.
        Closing the iterator ends the request. A stream that breaks off raises `CallFailed`.
        """
        self._check("stream", [prompt], sampling)
        (rendered,) = self._renderer.render([prompt])
        if overflow := self._calls.overflow(rendered, sampling.max_tokens):
            raise overflow
        return self._stream(rendered, sampling)

    def _stream(self, prompt: Rendered, sampling: Sampling) -> Iterator[str | Reply]:
        first, *others = requests.generation(
            self._model, self._server, prompt, sampling, apart=True
        )
        body = {**first, "stream": True, "stream_options": {"include_usage": True}}
        text = GrowingText(() if sampling.choices else sampling.stop)
        whole, retries = StreamedAnswer(), 0
        try:
            for event in self._transport.stream(self._calls.url(prompt), body):
                retries = event.retries
                if piece := text.add(whole.add(event.data)):
                    yield piece
                if text.stopped:
                    whole.cut(text.text)
                    break
            if not whole.finished and "error" not in whole.data:
                raise Failure("the stream ended before the reply did")
            replies.samples(whole.data)  # refuses a reply that did not end as it should
        except Failure as failure:
            raise self._transport.failed(failure, retries + 1) from failure
        if piece := text.rest():
            yield piece
        answers = self._transport.post_all([(self._calls.url(prompt), other) for other in others])
        read = partial(self._reply, prompt, sampling)
        reply = self._calls.result([Answer(whole.data, retries), *answers], read)
        if isinstance(reply, ModelError):
            raise reply
        yield reply

    def _reply(self, prompt: Rendered, sampling: Sampling, answers: list[Body]) -> Reply:
        return replies.reply(answers, prompt, sampling, self._renderer.count)

    def score(
        self, prompts: Sequence[Prompt], continuations: Sequence[str]
    ) -> list[ContinuationScore]:
        """Return the log-probabilities of one continuation for each prompt; see `LLM.score`.

        Raises:
            InputError: There are not as many continuations as prompts.
        """
        refuse_unsupported(self.name, self.capabilities, "score", prompts)
        if len(prompts) != len(continuations):
            raise InputError(f"{len(prompts)} prompts but {len(continuations)} continuations")
        tails = self._renderer.ids(continuations) or []
        rendered = [
            Rendered({"prompt": [*head.body["prompt"], *tail]}, head.tokens + len(tail), True)
            for head, tail in zip(self._renderer.render(prompts), tails, strict=True)
        ]
        bodies = [[requests.scoring(self._model, prompt)] for prompt in rendered]

        def read(row: int, answers: list[Body]) -> ContinuationScore:
            return replies.continuation_score(answers[0], rendered[row], tails[row])

        return self._calls.each(rendered, 1, bodies, read)

    def next_token(self, prompts: Sequence[Prompt], tokens: Sequence[str]) -> list[NextTokenScores]:
        """Return the log-probability of each of `tokens` as the first of the reply.

        Servers show the likeliest tokens only: 20, or 1,000 of llama.cpp.

        Raises:
            InputError: One of `tokens` is not one token of this model. Without 'exact_counts'
                only texts of several words are known not to be.
        """
        refuse_unsupported(self.name, self.capabilities, "next_token", prompts)
        ids = self._single(tokens)
        rendered = self._renderer.render(prompts)
        bodies = [[requests.next_token(self._model, self._server, prompt)] for prompt in rendered]

        def read(row: int, answers: list[Body]) -> NextTokenScores:
            return replies.next_token_scores(answers[0], rendered[row], tokens, ids)

        return self._calls.each(rendered, 1, bodies, read)

    def _check(self, method: Capability, prompts: Sequence[Prompt], sampling: Sampling) -> None:
        """Refuse what the server cannot do."""
        refuse_unsupported(self.name, self.capabilities, method, prompts, sampling)
        form = sampling.choices or sampling.starts_with or sampling.json_schema
        if sampling.logprobs is not None and form and not self._server.logprobs_of_forms:
            raise Unsupported(
                self.name,
                "logprobs of constrained replies",
                "TransformersLLM has them, and so has OpenAICompatibleLLM on servers of llama.cpp",
            )

    def _single(self, tokens: Sequence[str]) -> list[int] | None:
        """Return the number of each token, where known; refuse what is not one token."""
        encoded = self._renderer.ids(tokens)
        lengths = [len(t.split()) for t in tokens] if encoded is None else map(len, encoded)
        for token, length in zip(tokens, lengths, strict=True):
            if length > 1 or not token:
                raise InputError(f"{token!r} is {length} tokens of {self.name}, not one")
        return None if encoded is None else [ids[0] for ids in encoded]
