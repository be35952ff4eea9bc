"""What each kind of server can do, and how it is asked to.

- vLLM announces itself by `"owned_by": "vllm"` in its list of models; version 0.30 or newer. It
  puts white space into JSON, in which a small model may get lost, unless it was started with
  `--structured-outputs-config '{"backend": "guidance", "disable_any_whitespace": true}'`.
- llama.cpp announces itself by `"owned_by": "llamacpp"`.
- Any other server is used only for what its answers prove: `Sampling` fields that a server may
  ignore unnoticed are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rag.core.capabilities import Capability
from rag.core.errors import ModelNotFound
from rag.core.generation import Sampling

_ALWAYS: frozenset[Capability] = frozenset(
    ("generate", "stream", "next_token", "json_schema", "logprobs", "concurrent")
)


class GenericServer:
    """A server of unknown make.

    Attributes:
        draws_many: Whether one request can ask for several replies.
        seeds: How many seeds the server tells apart.
        likeliest: How many of the likeliest next tokens it shows at most.
        logprobs_of_forms: Whether the log-probabilities of a reply that has to follow a form are
            those that it would have without.
    """

    draws_many = False
    logprobs_of_forms = False
    seeds = 2**63
    likeliest = 20

    def capabilities(self, *, tokenizer: bool) -> frozenset[Capability]:
        """Return what a backend on such a server can do.

        Args:
            tokenizer: Whether prompts are sent as tokens of a local tokenizer.
        """
        return _ALWAYS | {"reply_prefix", "exact_counts"} if tokenizer else _ALWAYS

    def window(self, entry: Mapping[str, Any]) -> int | None:
        """Return the context window in tokens, from the model's entry in the server's list."""
        return None

    def sampler(self) -> dict[str, Any]:
        """Return the fields that set aside defaults of the server which `Sampling` lacks."""
        return {}

    def form(self, sampling: Sampling) -> dict[str, Any]:
        """Return the fields that make a reply follow choices, starts_with or json_schema."""
        if sampling.json_schema is None:
            return {}
        schema = {"name": "reply", "schema": sampling.schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}

    def logprobs(self, top: int, *, chat: bool) -> dict[str, Any]:
        """Return the fields that ask for log-probabilities and for the likeliest tokens."""
        shown = max(1, top)  # to some servers 0 means no log-probabilities at all
        return {"logprobs": True, "top_logprobs": shown} if chat else {"logprobs": shown}

    def next_token(self, *, chat: bool) -> dict[str, Any]:
        """Return the fields that ask how likely tokens are as the next one."""
        return self.logprobs(self.likeliest, chat=chat)


class VLLMServer(GenericServer):
    """vLLM's own server."""

    draws_many = True

    def capabilities(self, *, tokenizer: bool) -> frozenset[Capability]:
        """Return what a backend on such a server can do; see `GenericServer`."""
        able: set[Capability] = {"reply_prefix", "choices", "starts_with", "seed", "exact_counts"}
        if tokenizer:
            able.add("score")
        return _ALWAYS | able

    def window(self, entry: Mapping[str, Any]) -> int | None:
        """Return the context window in tokens."""
        return entry.get("max_model_len")

    def sampler(self) -> dict[str, Any]:
        """Set aside the model's generation_config.json, which the server's defaults come from."""
        neutral = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        return {**neutral, "presence_penalty": 0.0, "frequency_penalty": 0.0}

    def form(self, sampling: Sampling) -> dict[str, Any]:
        """Return the fields that make a reply follow choices, starts_with or json_schema."""
        rule: dict[str, Any]
        if sampling.choices:
            rule = {"choice": list(sampling.choices)}
        elif sampling.starts_with:
            starts = "|".join(map(_regex_literal, sampling.starts_with))
            rule = {"regex": rf"({starts})(.|\n)*"}
        elif sampling.json_schema is not None:
            rule = {"json": sampling.schema}
        else:
            return {}
        return {"structured_outputs": rule}

    def next_token(self, *, chat: bool) -> dict[str, Any]:
        """Return the fields that ask how likely tokens are as the next one.

        The tokens are not named in `logprob_token_ids`: vLLM's first model runner answers that,
        but then spoils the log-probabilities of other requests in the batch.
        """
        return {**super().next_token(chat=chat), "return_tokens_as_token_ids": True}


class LlamaCppServer(GenericServer):
    """llama.cpp's own server; it takes prompts as tokens always."""

    seeds = 2**32 - 1  # the last one stands for a random seed
    likeliest = 1000
    logprobs_of_forms = True

    def capabilities(self, *, tokenizer: bool) -> frozenset[Capability]:
        """Return what a backend on such a server can do; see `GenericServer`."""
        return _ALWAYS | {"reply_prefix", "choices", "starts_with", "seed", "exact_counts"}

    def window(self, entry: Mapping[str, Any]) -> int | None:
        """Return the tokens of one of the server's slots."""
        return (entry.get("meta") or {}).get("n_ctx")

    def sampler(self) -> dict[str, Any]:
        """Leave no sampler but those of `Sampling`, in the order that other backends have."""
        return {"samplers": ["temperature", "top_p"], "mirostat": 0, "dynatemp_range": 0.0}

    def form(self, sampling: Sampling) -> dict[str, Any]:
        """Return the fields that make a reply follow choices, starts_with or json_schema."""
        if sampling.choices:
            return {"grammar": f"root ::= {_alternatives(sampling.choices)}"}
        if sampling.starts_with:
            return {"grammar": f"root ::= ({_alternatives(sampling.starts_with)}) .*"}
        return {} if sampling.json_schema is None else {"json_schema": sampling.schema}


_KINDS = {"vllm": VLLMServer, "llamacpp": LlamaCppServer}


def recognise(
    listed: Sequence[Mapping[str, Any]], model: str | None, url: str
) -> tuple[str, Mapping[str, Any], GenericServer]:
    """Return a model's name, its entry in a server's list of models, and the kind of server.

    Args:
        listed: The entries of the list; none if the server has no such list.
        model: The model's name; None for the only one.
        url: The base URL, for errors.

    Raises:
        ModelNotFound: The server has no such model, or none or several to choose from.
    """
    names = [str(entry.get("id")) for entry in listed]
    kinds = {_KINDS.get(str(entry.get("owned_by")), GenericServer) for entry in listed}
    kind = kinds.pop() if len(kinds) == 1 else GenericServer
    if model is None:
        if len(names) != 1:
            has = ", ".join(names) or "no list of models"
            raise ModelNotFound("", [f"{url} has {has}; name one"])
        return names[0], listed[0], kind()
    for name, entry in zip(names, listed, strict=True):
        if model in (name, *(entry.get("aliases") or ())):
            return model, entry, kind()
    # Gateways serve models beyond those that they list.
    if kind is not GenericServer:
        raise ModelNotFound(model, [f"{url} has {', '.join(names)}"])
    return model, {}, kind()


def _regex_literal(text: str) -> str:
    return re.sub(r"([\\.^$*+?{}\[\]|()/-])", r"\\\1", text)


def _alternatives(texts: Sequence[str]) -> str:
    """Return texts as alternatives of a GBNF grammar."""
    return " | ".join('"' + "".join(map(_gbnf_character, text)) + '"' for text in texts)


def _gbnf_character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08X}"
