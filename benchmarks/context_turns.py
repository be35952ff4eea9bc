"""Ways to do the same that take turns, so that whatever else the machine does meets all of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from context_prompts import Asked

from rag.core import Prompt, Sampling
from rag.core.protocols import LLM
from rag.models.lanes import on_lane

FIRST_TOKEN = Sampling(max_tokens=1)


class Outcome(NamedTuple):
    """What came of a call.

    Args:
        computed: Tokens of prompts that were read anew.
        text: What was written.
        written: Its tokens.
        server_seconds: How long a server says that it read.
    """

    computed: int
    text: str = ""
    written: int = 0
    server_seconds: float | None = None


Ask = Callable[[], Outcome]
Way = Callable[[Asked], Ask]
"""Does what is not timed, and returns what is."""


def ask(llm: LLM, prompts: Sequence[Prompt], sampling: Sampling = FIRST_TOKEN) -> Outcome:
    """Return what came of one call."""
    replies = llm.generate(prompts, sampling)
    return Outcome(
        sum(reply.input_tokens - reply.cached_tokens for reply in replies),
        "\n".join(reply.text for reply in replies),
        sum(reply.output_tokens for reply in replies),
    )


def timed(ways: Mapping[str, Way], rounds: Sequence[Asked]) -> dict[str, list[dict[str, Any]]]:
    """Let all ways take turns, and return the seconds and outcomes of each."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for number, asked in enumerate(rounds, 1):
        for name, way in ways.items():
            told(f"round {number} of {len(rounds)}: {name}")
            ready = way(asked)
            on_lane("cpu", int)  # the model's thread may still be keeping what was read
            began = time.perf_counter()
            outcome = ready()
            seconds = time.perf_counter() - began
            runs[name].append({"seconds": seconds, **outcome._asdict()})
    told("")
    return runs


def told(what: str) -> None:
    """Print what is being done, over what was printed before."""
    print(f"\r{what:60}\r", end="", file=sys.stderr, flush=True)
