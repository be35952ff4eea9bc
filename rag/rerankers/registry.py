"""Rerankers by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import signature
from pathlib import Path
from typing import Any

from rag.core.errors import InputError
from rag.core.protocols import LLM
from rag.models.cross_encoder import CrossEncoder
from rag.models.registry import DEFAULT_LLM, load_llm
from rag.rerankers.base import Reranker
from rag.rerankers.cross_encoder import CrossEncoderReranker
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.permutation import PermutationRanker
from rag.rerankers.pointwise import QueryLikelihood, YesNo
from rag.rerankers.setwise import Setwise
from rag.rerankers.sliding import FullRanking, SlidingWindow
from rag.rerankers.tour_rank import TourRank
from rag.rerankers.tournament import Tournament

_STRATEGIES = (SlidingWindow, FullRanking, Tournament, TourRank, Setwise)
_RANKERS = (FirstTokenRanker, PermutationRanker)
_POINTWISE = {YesNo.name: YesNo, QueryLikelihood.name: QueryLikelihood}
_CROSS_ENCODER = "cross-encoder"

_LISTWISE = {
    f"{strategy.strategy}-{ranker.name}": (strategy, ranker)
    for strategy in _STRATEGIES
    for ranker in _RANKERS
}

METHODS = (*_LISTWISE, *_POINTWISE, f"{_CROSS_ENCODER}:MODEL")
"""The names of the rerankers; a `MODEL` is a path or a name of the hub."""


def load_reranker(
    method: str, llm: LLM | str = DEFAULT_LLM, *, prompts: Path | None = None, **options: Any
) -> Reranker:
    """Return the reranker of a name.

    Args:
        method: One of `METHODS`: 'sliding-first-token', 'tournament-permutation', 'yes-no', …
        llm: The language model, or a name that `load_llm` resolves. Cross-encoders need none.
        prompts: A folder whose prompt templates replace the shipped ones.
        options: As the reranker's class takes them: `window`, `stride`, `passage_tokens`, …

    Raises:
        InputError: There is no such method, or it does not take one of the options.
        ModelError: The model cannot be loaded, or cannot do what the method needs.
    """
    kind, _, model = method.partition(":")
    if kind == _CROSS_ENCODER and model:
        _check(method, CrossEncoderReranker, options)
        return CrossEncoderReranker(CrossEncoder(model), **options)
    if method in _LISTWISE:
        strategy, ranker = _LISTWISE[method]
        _check(method, strategy, options)
        return strategy(ranker(_loaded(llm), prompts=prompts), **options)
    if method in _POINTWISE:
        _check(method, _POINTWISE[method], options)
        return _POINTWISE[method](_loaded(llm), prompts=prompts, **options)
    raise InputError(f"no reranker '{method}'; there are {', '.join(METHODS)}")


def _check(method: str, build: Callable[..., Reranker], options: Iterable[str]) -> None:
    """Refuse options that a reranker does not take, before a model is loaded."""
    parameters = signature(build).parameters.values()
    known = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise InputError(
                f"{method} takes no {name}; it takes {', '.join(known) or 'no options'}"
            )


def _loaded(llm: LLM | str) -> LLM:
    return load_llm(llm) if isinstance(llm, str) else llm
