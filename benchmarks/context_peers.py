"""What is kept of one prompt for the next, by ragmeter, transformers and llama.cpp's server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Protocol, Self

import httpx2
import torch
from context_turns import Ask, Outcome, ask
from transformers import DynamicCache

from rag.core import Prompt
from rag.core.protocols import LLM
from rag.models.causal import load_causal
from rag.models.lanes import on_lane

SERVER = Path(__file__).with_name("llama_server.py")
Render = Callable[[Prompt], list[int]]


class Keeper(Protocol):
    """Keeps something of a prompt."""

    def keep(self, prompt: Prompt) -> object:
        """Read a prompt."""

    def going_on(self, prompt: Prompt) -> Ask:
        """Return what reads another prompt and writes its first token."""


class KeptPrefixes:
    """A model with a prefix cache of its own."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    def keep(self, prompt: Prompt) -> object:
        """Read a prompt."""
        return ask(self._llm, [prompt])

    def going_on(self, prompt: Prompt) -> Ask:
        """Return what reads another prompt and writes its first token."""
        return partial(ask, self._llm, [prompt])


class KeptCache:
    """A model of transformers that goes on from what it kept of a prompt.

    As its documentation does it: a `DynamicCache` is filled with a prompt, copied, and the copy
    handed to `generate`. The copy is cut to the tokens that both prompts begin with, since
    `generate` takes all that it holds for the beginning of the prompt.

    Args:
        folder: The model.
        dtype: Number format of its weights.
        render: Returns the tokens of a prompt.
    """

    def __init__(self, folder: Path, dtype: torch.dtype, render: Render) -> None:
        self._model, self._tokenizer = on_lane("cpu", load_causal, folder, "cpu", dtype)
        self._render = render
        self._tokens: list[int] = []
        self._cache = DynamicCache(config=self._model.config)

    def keep(self, prompt: Prompt) -> None:
        """Read a prompt, unless it was the last one."""
        tokens = self._render(prompt)
        if tokens != self._tokens:
            self._cache = DynamicCache(config=self._model.config)
            on_lane("cpu", self._write, tokens, self._cache)
            self._tokens = tokens

    def going_on(self, prompt: Prompt) -> Ask:
        """Copy what is kept; return what reads another prompt and writes its first token."""
        return partial(on_lane, "cpu", self._go_on, prompt, deepcopy(self._cache))

    def _go_on(self, prompt: Prompt, cache: DynamicCache) -> Outcome:
        tokens = self._render(prompt)
        known = common(tokens[:-1], self._tokens)
        cache.crop(known - cache.get_seq_length())
        return Outcome(len(tokens) - known, self._write(tokens, cache), 1)

    @torch.inference_mode()
    def _write(self, tokens: Sequence[int], cache: DynamicCache) -> str:
        ids = torch.tensor([tokens])
        written = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=cache,
            max_new_tokens=1,
            do_sample=False,
            pad_token_id=self._tokenizer.eos_token_id,
        )
        return str(self._tokenizer.decode(written[0, len(tokens) :], skip_special_tokens=True))


class LlamaServer(AbstractContextManager["LlamaServer"]):
    """llama.cpp's server in a process of its own, with one slot and as many threads as torch.

    Args:
        model: A GGUF file.
        window: Tokens of a prompt and its reply; the server allows no more than the file does.
        render: Returns the tokens of a prompt.
    """

    def __init__(self, model: Path, window: int, render: Render) -> None:
        self._render = render
        pipe = subprocess.PIPE
        numbers = [str(window), str(torch.get_num_threads())]
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER), str(model), *numbers],
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        url = self._process.stdout.readline().strip()
        if not url:
            raise SystemExit(f"llama.cpp's server does not start on {model}")
        self._client = httpx2.Client(base_url=url, trust_env=False, timeout=None)

    def __enter__(self) -> Self:
        """Wait until the model is loaded."""
        while self._client.get("/health").status_code != 200:
            time.sleep(0.05)
        return self

    def __exit__(self, *error: object) -> None:
        """End the server."""
        self._client.close()
        try:
            self._process.communicate(timeout=10)  # closes its input
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def keep(self, prompt: Prompt) -> object:
        """Read a prompt."""
        return self._ask(prompt, 0)

    def going_on(self, prompt: Prompt, moved: int = 0) -> Ask:
        """Return what reads another prompt and writes its first token.

        Args:
            prompt: The prompt.
            moved: Tokens of a piece of the earlier prompt, at least, for it to be moved to where
                it stands in this one; 0 moves none.
        """
        return partial(self._ask, prompt, moved)

    def _ask(self, prompt: Prompt, moved: int) -> Outcome:
        body = {
            "prompt": self._render(prompt),
            "n_predict": 1,
            "temperature": 0,
            "cache_prompt": True,
            "n_cache_reuse": moved,
        }
        reply = self._client.post("/completion", json=body).raise_for_status().json()
        timings = reply["timings"]
        return Outcome(timings["prompt_n"], reply["content"], 1, timings["prompt_ms"] / 1000)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two prompts have in common from their start."""
    pairs = zip(one, other, strict=False)
    differing = (place for place, (ours, theirs) in enumerate(pairs) if ours != theirs)
    return next(differing, min(len(one), len(other)))
