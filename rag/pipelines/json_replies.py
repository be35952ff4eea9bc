"""Replies that are one JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from rag.core.errors import Unsupported
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.operations import Generate
from rag.core.protocols import LLM


async def generate_json(
    prompt: Prompt, schema: Mapping[str, Any], max_tokens: int, llm: LLM | None, stage: str
) -> Reply:
    """Generate JSON of a schema where the backend can be held to it, and freely elsewhere.

    A backend refuses what it cannot do before it spends a token.
    """
    sampling = Sampling(max_tokens=max_tokens, json_schema=schema)
    try:
        return await Generate(prompt, sampling, llm, stage)
    except Unsupported:
        return await Generate(prompt, replace(sampling, json_schema=None), llm, stage)


def parse_object(text: str) -> dict[str, Any] | None:
    """Return the last JSON object of a reply, whatever stands around it; None where there is none.

    The last one, because a model may think aloud, or repeat the form that it was given, first.
    """
    decoder = json.JSONDecoder()
    last, start = None, text.find("{")
    while start >= 0:
        end = start + 1
        with suppress(ValueError, RecursionError):
            last, end = decoder.raw_decode(text, start)
        start = text.find("{", end)
    return last
