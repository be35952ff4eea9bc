from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.errors import InputError
from rag.indexes import create_index
from rag.indexes.advice import CHEAP_SEARCH, Advice, Option, advise

GB = 10**9
DIMENSION = 32
PASSAGES = st.integers(1, 10**10)
DIMENSIONS = st.integers(1, 4096)
MEMORY = st.integers(0, 10**14)
RECALL = st.floats(0.5, 1)


def option(advice: Advice, name: str) -> Option:
    return next(each for each in advice.options if f"{each.kind}-{each.codes}" == name)


def chosen(advice: Advice) -> Option:
    assert advice.recommended is not None, advice.reason
    return advice.recommended


@pytest.mark.parametrize(
    ("structure", "count"),
    [
        *((f"flat-{codes}", 20_000) for codes in ("float32", "float16", "int8")),
        *((f"ivf-{codes}", 20_000) for codes in ("float32", "float16", "int8", "pq")),
        *((f"hnsw-{codes}", 2_000) for codes in ("float32", "float16", "int8")),
    ],
)
def test_memory_is_that_of_a_real_index(structure: str, count: int, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((count, DIMENSION), np.float32)
    kind, codes = structure.split("-")
    index = create_index(
        DIMENSION,
        kind=kind,  # type: ignore[arg-type]
        codes=codes,  # type: ignore[arg-type]
        size_hint=count,
        training=vectors,
    )
    index.add(np.arange(count), vectors)
    index.save(tmp_path / "index")
    size = (tmp_path / "index").stat().st_size
    assert option(advise(count, DIMENSION), structure).memory == pytest.approx(size, rel=0.03)


@given(PASSAGES, DIMENSIONS, MEMORY, MEMORY, RECALL)
def test_more_memory_is_never_slower(
    passages: int, dimension: int, one: int, other: int, recall: float
) -> None:
    less = advise(passages, dimension, memory=min(one, other), recall=recall)
    more = advise(passages, dimension, memory=max(one, other), recall=recall)
    if less.recommended is not None:
        slowest = max(less.recommended.search_seconds, CHEAP_SEARCH)
        assert chosen(more).search_seconds <= slowest


@given(PASSAGES, DIMENSIONS, MEMORY, RECALL)
def test_what_is_recommended_fits_and_reaches_the_recall(
    passages: int, dimension: int, memory: int, recall: float
) -> None:
    best = advise(passages, dimension, memory=memory, recall=recall).recommended
    if best is not None:
        assert max(best.memory, best.building) <= memory
        assert best.recall >= recall


@given(PASSAGES, DIMENSIONS)
def test_more_passages_need_and_take_more(passages: int, dimension: int) -> None:
    fewer, more = advise(passages, dimension), advise(2 * passages, dimension)
    for small, large in zip(fewer.options, more.options, strict=True):
        assert small.memory < large.memory
        assert small.building < large.building
        assert small.search_seconds < large.search_seconds
        assert small.build_seconds < large.build_seconds


def test_few_passages_are_all_compared() -> None:
    advice = advise(10_000, 384)
    assert chosen(advice).kind == "flat"
    assert "no longer than embedding the query" in advice.reason


def test_a_scan_that_takes_long_is_not_chosen() -> None:
    best = chosen(advise(5_000_000, 384))
    assert best.kind != "flat"
    assert best.search_seconds < option(advise(5_000_000, 384), "flat-float16").search_seconds


def test_little_memory_asks_for_smaller_codes() -> None:
    whole = option(advise(10_000_000, 384), "flat-float16").memory
    advice = advise(10_000_000, 384, memory=whole - 1)
    assert chosen(advice).codes in ("int8", "pq")
    assert "float16 do not fit" in advice.reason


def test_where_nothing_fits_there_are_more_machines() -> None:
    advice = advise(10**9, 384, memory=16 * GB)
    assert advice.recommended is None
    assert "Milvus" in advice.reason


def test_where_all_searches_are_slow_there_are_more_machines() -> None:
    advice = advise(10**9, 384, memory=150 * GB)
    assert (chosen(advice).kind, chosen(advice).codes) == ("ivf", "pq")
    assert "Milvus" in advice.reason


def test_exact_results_take_a_scan() -> None:
    assert chosen(advise(10_000_000, 384, recall=1)).kind == "flat"


def test_gpus_are_said_to_hold_what_fits() -> None:
    advice = advise(200_000_000, 384, gpu_memory=141 * GB)
    assert option(advice, "ivf-int8").fits_gpu
    assert not option(advice, "flat-float32").fits_gpu
    assert advise(100, 384).options[0].fits_gpu is None


@pytest.mark.parametrize(
    ("passages", "dimension", "recall"), [(0, 384, 0.9), (1, 0, 0.9), (1, 384, 0), (1, 384, 1.01)]
)
def test_what_cannot_be_is_refused(passages: int, dimension: int, recall: float) -> None:
    with pytest.raises(InputError):
        advise(passages, dimension, recall=recall)
