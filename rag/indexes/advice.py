"""Which vector index to choose: what each needs and how fast it is, from measured figures.

The figures are those of `benchmarks/index_frontier.py`, kept in `index_frontier.json`: real
embeddings, one core. They are scaled to other collections by what a search compares a query with:
in a flat index everything; in a graph a path that grows with the logarithm of the passages; in an
inverted index all clusters and the vectors in a few of them, where for the same recall these few
grow with the square root of the clusters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isqrt, log, sqrt
from types import MappingProxyType

from rag.core.errors import InputError
from rag.indexes.placement import gpu_bytes
from rag.indexes.vectors import Codes, Kind, pq_parts

CHEAP_SEARCH = 0.010
"""Seconds that a query's embedding takes on a CPU: a search below it is not worth making faster."""

_SLOW_SEARCH = 0.25  # seconds that nobody likes to wait
_SIMPLEST_FIRST: tuple[tuple[Kind, Codes], ...] = (
    *(("flat", "float16"), ("flat", "float32"), ("flat", "int8")),
    *(("ivf", "float16"), ("ivf", "float32"), ("ivf", "int8"), ("ivf", "pq")),
    *(("hnsw", "float16"), ("hnsw", "float32"), ("hnsw", "int8")),
)
_NUMBER_BYTES: Mapping[Codes, int] = MappingProxyType({"float32": 4, "float16": 2, "int8": 1})
_GRAPH_BYTES = 4 * (64 + 32 / 31) + 4 + 8  # neighbours on all levels, the level, where they start
_ID_BYTES = 8
_LISTS = 4  # times the square root of the passages
_PROBES = 2.4  # times the square root of the lists: recall 0.95 at 20,000 passages and at 100,000
_CENTROIDS = 256  # of each part that 'pq' cuts vectors into
_TRAINING_PER_LIST, _LEAST_PER_LIST, _MOST_TRAINING = 64, 39, 1 << 18  # vectors sampled
_TRAINING_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Option:
    """What one index needs and does.

    Args:
        kind: How vectors are found.
        codes: How they are held.
        memory: Bytes that it takes to search, which is also about the size of its file.
        building: Bytes while it is built: a sample to learn from, and room that grows.
        gpu_memory: Bytes that a copy takes on GPUs, of a graph as CAGRA.
        recall: Share of the 10 nearest that is found, at the setting that just reaches what was
            asked; where none does, the most that was measured.
        search_seconds: A search for one query on one core at that setting.
        build_seconds: Training and adding on one core.
        fits: Whether the memory that was stated is enough to build and search it.
        fits_gpu: Whether the GPU memory that was stated is; None where none was.
    """

    kind: Kind
    codes: Codes
    memory: int
    building: int
    gpu_memory: int
    recall: float
    search_seconds: float
    build_seconds: float
    fits: bool
    fits_gpu: bool | None


@dataclass(frozen=True, slots=True)
class Advice:
    """The indexes there are for a collection, and the one to choose.

    Args:
        passages: How many passages the collection has.
        dimension: Length of a vector.
        recall: Share of the 10 nearest that searches are to find.
        memory: Bytes that the vector index may take; None where there is no limit.
        options: All indexes, the simplest first.
        recommended: The one to choose; None where none fits or reaches the recall.
        reason: Why, for people.
    """

    passages: int
    dimension: int
    recall: float
    memory: int | None
    options: tuple[Option, ...]
    recommended: Option | None
    reason: str


def advise(
    passages: int,
    dimension: int,
    *,
    memory: int | None = None,
    recall: float = 0.95,
    gpu_memory: int | None = None,
) -> Advice:
    """Choose a vector index for a collection.

    Of those that fit and reach the recall it is the one with the fastest search, where all that
    take less than `CHEAP_SEARCH` count as equal; of equals the simplest: flat before ivf, which
    has to be trained, before hnsw, which takes longest to build; and float16, the precision of the
    store, before float32, which finds no more, and before codes that are approximate. So more
    memory never makes searches slower, but for those that are cheap anyway.

    Args:
        passages: How many passages there will be.
        dimension: Length of a vector.
        memory: Bytes that the vector index may take; None sets no limit.
        recall: Share of the 10 nearest that searches are to find, above 0 and at most 1.
        gpu_memory: Bytes of all GPUs together; None if there is none. It is said which indexes
            fit there, and does not change the recommendation.

    Raises:
        InputError: An argument cannot be used.
    """
    if passages < 1 or dimension < 1:
        raise InputError(f"{passages} passages of dimension {dimension}; both are at least 1")
    if not 0 < recall <= 1:
        raise InputError(f"recall is {recall}; it must be above 0 and at most 1")
    options = tuple(
        _option(kind, codes, passages, dimension, memory, recall, gpu_memory)
        for kind, codes in _measured()
    )
    able = [each for each in options if each.fits and each.recall >= recall]
    if not able:
        return Advice(
            passages, dimension, recall, memory, options, None, _why_none(options, recall)
        )
    best = min(able, key=lambda each: max(each.search_seconds, CHEAP_SEARCH))
    return Advice(passages, dimension, recall, memory, options, best, _why(best, options))


def _option(
    kind: Kind,
    codes: Codes,
    passages: int,
    dimension: int,
    memory: int | None,
    recall: float,
    gpu_memory: int | None,
) -> Option:
    measured = _measured()[kind, codes]
    reached = [each for each in measured.settings if each.recall >= recall]
    if reached:
        setting = min(reached, key=lambda each: each.seconds)
    else:
        setting = max(measured.settings, key=lambda each: each.recall)
    length = dimension / measured.dimension
    search = _search_work(kind, passages) / _search_work(kind, measured.passages)
    build = _build_work(kind, passages) / _build_work(kind, measured.passages)
    held = _memory(kind, codes, passages, dimension)
    building = _building(kind, codes, passages, dimension)
    on_gpu = gpu_bytes(passages, dimension, kind, codes, cuvs=True)
    return Option(
        kind=kind,
        codes=codes,
        memory=held,
        building=building,
        gpu_memory=on_gpu,
        recall=setting.recall,
        search_seconds=setting.seconds * search * length,
        build_seconds=measured.build_seconds * build * length,
        fits=memory is None or max(held, building) <= memory,
        fits_gpu=None if gpu_memory is None else on_gpu <= gpu_memory,
    )


def _search_work(kind: Kind, passages: int) -> float:
    if kind == "flat":
        return passages
    if kind == "hnsw":
        return log(passages + 1)
    lists = _lists(passages)
    return lists + _PROBES * sqrt(lists) * passages / lists


def _build_work(kind: Kind, passages: int) -> float:
    if kind == "flat":
        return passages
    if kind == "hnsw":
        return passages * log(passages + 1)
    return _lists(passages) * (_samples(passages) * _TRAINING_ROUNDS + passages)


def _memory(kind: Kind, codes: Codes, passages: int, dimension: int) -> int:
    code = pq_parts(dimension) if codes == "pq" else dimension * _NUMBER_BYTES[codes]
    each = code + _ID_BYTES + (_GRAPH_BYTES if kind == "hnsw" else 0)
    centroids = _CENTROIDS * dimension * 4 if codes == "pq" else 0
    return round(passages * each + _clusters(kind, passages, dimension)) + centroids


def _building(kind: Kind, codes: Codes, passages: int, dimension: int) -> int:
    trained = kind == "ivf" or codes == "int8"
    sample = _samples(passages) * dimension * 4 if trained else 0
    if kind == "flat":  # written to its file from the store, with the ids held
        return passages * _ID_BYTES + sample
    # Each cluster's list doubles when it is full, so lists are three quarters full on average.
    room = 4 / 3 if kind == "ivf" else 1
    return round(_memory(kind, codes, passages, dimension) * room) + sample


def _samples(passages: int) -> int:
    return min(passages, _MOST_TRAINING, int(_LISTS * sqrt(passages)) * _TRAINING_PER_LIST)


def _lists(passages: int) -> int:
    return max(1, min(_LISTS * isqrt(passages), _samples(passages) // _LEAST_PER_LIST))


def _clusters(kind: Kind, passages: int, dimension: int) -> int:
    return _lists(passages) * dimension * 4 if kind == "ivf" else 0


def _why(best: Option, options: tuple[Option, ...]) -> str:
    seconds = best.search_seconds
    time = f"{seconds:,.1f} s" if seconds >= 1 else f"{1000 * seconds:,.1f} ms"
    if best.kind == "flat" and best.search_seconds <= CHEAP_SEARCH:
        return f"comparing with every vector takes about {time}, no longer than embedding the query"
    whole = next(each for each in options if (each.kind, each.codes) == (best.kind, "float16"))
    room = "; vectors of float16 do not fit the memory" if not whole.fits else ""
    if best.search_seconds <= CHEAP_SEARCH:
        return (
            f"the simplest whose search, about {time}, takes no longer than embedding the "
            f"query{room}"
        )
    slow = "; Milvus shares a collection among machines" if seconds > _SLOW_SEARCH else ""
    return f"the fastest search that fits, about {time}{room}{slow}"


def _why_none(options: tuple[Option, ...], recall: float) -> str:
    able = [each for each in options if each.recall >= recall]
    if not able:
        return f"no index was measured to find {recall:.0%} of the 10 nearest"
    needed, smallest = min(
        ((max(each.memory, each.building), each) for each in able), key=lambda pair: pair[0]
    )
    return (
        f"the smallest, {smallest.kind} with {smallest.codes}, needs {needed / 1e9:,.1f} GB: give "
        "it more memory, leave the index in its file where searches may wait for the disk, or "
        "share the collection among machines with Milvus"
    )


@dataclass(frozen=True, slots=True)
class _Setting:
    recall: float
    seconds: float


@dataclass(frozen=True, slots=True)
class _Measured:
    passages: int
    dimension: int
    build_seconds: float
    settings: tuple[_Setting, ...]


@cache
def _measured() -> dict[tuple[Kind, Codes], _Measured]:
    """Return what was measured of each index with the most passages, the simplest index first."""
    text = files("rag.indexes").joinpath("index_frontier.json").read_text(encoding="utf-8")
    every = json.loads(text)
    measured = {}
    for kind, codes in _SIMPLEST_FIRST:
        rows = [row for row in every if row["structure"] == f"{kind}-{codes}"]
        most = max((row["passages"] for row in rows), default=0)
        largest = [row for row in rows if row["passages"] == most]
        if largest:
            measured[kind, codes] = _Measured(
                most,
                largest[0]["dimension"],
                largest[0]["build_seconds"],
                tuple(_Setting(row["recall"], row["one_ms"] / 1000) for row in largest),
            )
    return measured
