"""Retrieval metrics, as trec_eval defines them.

A metric takes a ranking of document ids, best first, and the judged documents of the query; a
document that is not judged is not relevant, and one is relevant from grade 1. A query without
relevant documents scores 0. Rankings are taken as they are, also where scores tie; trec_eval would
put tied documents in descending order of their ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log2

from rag.core.errors import InputError

Ranking = Sequence[str]
Grades = Mapping[str, int]


def ndcg(ranking: Ranking, grades: Grades, k: int) -> float:
    """Return the normalised discounted cumulative gain of the first k.

    The gain is the grade, the discount log2(rank + 1) (Järvelin and Kekäläinen, TOIS 2002).
    """
    ideal = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
    best = _discounted(ideal[:k])
    return (
        _discounted([max(0, grades.get(each, 0)) for each in ranking[:k]]) / best if best else 0.0
    )


def recall(ranking: Ranking, grades: Grades, k: int) -> float:
    """Return the share of the relevant documents that are among the first k."""
    relevant = _relevant(grades)
    return sum(_hits(ranking[:k], grades)) / relevant if relevant else 0.0


def precision(ranking: Ranking, grades: Grades, k: int) -> float:
    """Return the relevant share of the first k, counting ranks that are not filled."""
    return sum(_hits(ranking[:k], grades)) / k


def reciprocal_rank(ranking: Ranking, grades: Grades, k: int) -> float:
    """Return 1 / rank of the first relevant document, 0 if it is not among the first k."""
    return next((1 / rank for rank, hit in enumerate(_hits(ranking[:k], grades), 1) if hit), 0.0)


def average_precision(ranking: Ranking, grades: Grades, k: int) -> float:
    """Return the mean over the relevant documents of the precision at their rank, 0 beyond k."""
    relevant, found, total = _relevant(grades), 0, 0.0
    for rank, hit in enumerate(_hits(ranking[:k], grades), 1):
        found += hit
        total += found / rank if hit else 0.0
    return total / relevant if relevant else 0.0


_FUNCTIONS: dict[str, Callable[[Ranking, Grades, int], float]] = {
    "nDCG": ndcg,
    "recall": recall,
    "precision": precision,
    "MRR": reciprocal_rank,
    "MAP": average_precision,
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric and how far down the ranking it looks.

    Args:
        kind: 'nDCG', 'recall', 'precision', 'MRR' or 'MAP'.
        k: Number of documents that it looks at.
    """

    kind: str
    k: int

    @classmethod
    def parse(cls, name: str) -> Metric:
        """Read a name such as 'nDCG@10'.

        Raises:
            InputError: There is no such metric.
        """
        kinds = {kind.lower(): kind for kind in _FUNCTIONS}
        match = re.fullmatch(r"(\w+)@([1-9]\d*)", name)
        if match is None or match[1].lower() not in kinds:
            raise InputError(f"no metric {name!r}; there are {'@k, '.join(_FUNCTIONS)}@k")
        return cls(kinds[match[1].lower()], int(match[2]))

    def __str__(self) -> str:
        """Return the name."""
        return f"{self.kind}@{self.k}"

    def __call__(self, ranking: Ranking, grades: Grades) -> float:
        """Return the value for one query."""
        return _FUNCTIONS[self.kind](ranking, grades, self.k)


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / log2(rank + 1) for rank, gain in enumerate(gains, 1))


def _relevant(grades: Grades) -> int:
    return sum(grade > 0 for grade in grades.values())


def _hits(ranking: Ranking, grades: Grades) -> list[bool]:
    return [grades.get(each, 0) > 0 for each in ranking]
