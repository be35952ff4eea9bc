"""What rerankers learn from: passages of a query, and the order that they should be in."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rag.core.documents import Document, Passage
from rag.core.errors import InputError
from rag.core.hits import Hit

T = TypeVar("T")

Rankings = Mapping[str, Sequence[tuple[str, float]]]
"""For each query id, document ids with their scores, best first: what `Run.rankings` holds."""


@dataclass(frozen=True, slots=True)
class TrainingList:
    """Passages of a query and what each of them is worth.

    Args:
        query: What was looked for.
        hits: The passages as a model is shown them, each with its rank as 'retrieved'.
        grades: What each is worth; more is better.

    Raises:
        InputError: There are not as many grades as hits, or all of them are the same.
    """

    query: str
    hits: tuple[Hit, ...]
    grades: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what nothing can be learnt from."""
        if len(self.hits) != len(self.grades):
            raise InputError(f"{len(self.hits)} hits but {len(self.grades)} grades")
        if len(set(self.grades)) < 2:
            raise InputError(f"no grades of the hits of '{self.query}' differ")

    @property
    def order(self) -> list[int]:
        """The hits' places, best first; those of one grade in the order of their retrieval."""
        return sorted(
            range(len(self.hits)),
            key=lambda place: (-self.grades[place], self.hits[place].ranks["retrieved"]),
        )


def training_lists(
    queries: Mapping[str, str],
    rankings: Rankings,
    documents: Mapping[str, Document],
    targets: Mapping[str, Mapping[str, int]] | Rankings,
    *,
    size: int = 20,
    seed: int = 0,
) -> tuple[list[TrainingList], int]:
    """Make lists to train on out of what a first stage found.

    A list is the beginning of a query's ranking. The model is shown it in random order, so that it
    cannot learn to copy the first stage; another seed makes other lists out of the same rankings.
    Documents that are not judged, or that the teacher did not rank, are worth 0.

    Args:
        queries: Texts of queries by their id.
        rankings: What the first stage found, such as `Run.rankings`.
        documents: The documents by their id.
        targets: The order to learn: judgements (for each query, grades by document id), or the
            rankings of a teacher.
        size: Documents of a list at most, at least 2; as many as a reranker's `window`.
        seed: Decides on the order in which documents are shown.

    Returns:
        The lists, and the number of queries left out since nothing tells their documents apart.

    Raises:
        InputError: `size` is less than 2, or a query or document that is ranked is not given.
    """
    if size < 2:
        raise InputError(f"size is {size}; it must be at least 2")
    rng = random.Random(seed)  # noqa: S311 # nothing secret is drawn
    lists = []
    for query_id, ranking in rankings.items():
        worth = _grades(targets.get(query_id, {}))
        hits = [
            _hit(_known(documents, document_id, "document"), score, rank)
            for rank, (document_id, score) in enumerate(ranking[:size], 1)
        ]
        rng.shuffle(hits)
        grades = tuple(worth.get(hit.passage.id, 0) for hit in hits)
        if len(set(grades)) > 1:
            lists.append(TrainingList(_known(queries, query_id, "query"), tuple(hits), grades))
    return lists, len(rankings) - len(lists)


def _grades(target: Mapping[str, int] | Sequence[tuple[str, float]]) -> Mapping[str, int]:
    if isinstance(target, Mapping):
        return target
    return {document_id: len(target) - place for place, (document_id, _) in enumerate(target)}


def _hit(document: Document, score: float, rank: int) -> Hit:
    passage = Passage(
        document.id, document.id, document.text, 0, len(document.text), document.title
    )
    return Hit(passage, score, ranks={"retrieved": rank})


def _known(values: Mapping[str, T], key: str, kind: str) -> T:
    if key not in values:
        raise InputError(f"{kind} '{key}' is ranked but not given")
    return values[key]
