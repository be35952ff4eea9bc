"""Runs: what a retriever returned for the queries of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rag.core.errors import DataError, InputError
from rag.evaluation.datasets import Judgements, RetrievalDataset
from rag.evaluation.metrics import Metric


class RankedDocument(NamedTuple):
    """A document in a ranking.

    Args:
        id: The document.
        score: Its score; higher is better.
    """

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Run:
    """Rankings of documents.

    Args:
        name: What produced them.
        rankings: A ranking for each query id, best first.
        path: The file that they were read from, if any.
    """

    name: str
    rankings: Mapping[str, Sequence[RankedDocument]]
    path: Path | None = field(default=None, compare=False)

    @classmethod
    def read(cls, path: str | Path) -> Run:
        """Read a run in TREC's format, `query Q0 document rank score name` on a line.

        Documents are ranked by score and, where scores are equal, as the file has them.

        Raises:
            DataError: A line is malformed, or ranks a document twice.
        """
        path = Path(path)
        name = path.stem
        rankings: dict[str, dict[str, float]] = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(str(path), str(error)) from error
        for number, line in enumerate(lines, 1):
            try:
                query_id, _, document_id, _, score, name = line.split()
                ranking = rankings.setdefault(query_id, {})
                if document_id in ranking:
                    raise ValueError(f"ranks {document_id} a second time for query {query_id}")
                ranking[document_id] = float(score)
            except ValueError as error:
                raise DataError(str(path), str(error), number) from error
        return cls(
            name,
            {
                query_id: sorted(
                    (RankedDocument(*item) for item in ranking.items()),
                    key=lambda each: -each.score,
                )
                for query_id, ranking in rankings.items()
            },
            path,
        )

    @classmethod
    def of_candidates(cls, dataset: RetrievalDataset) -> Run:
        """Return the documents that come with the queries of a data set, in the order given there.

        Raises:
            DataError: None come with them, or one comes twice with a query.
        """
        path = dataset.folder / "candidates.jsonl"
        if not dataset.candidates:
            raise DataError(str(path), "gives no query any documents")
        rankings = {}
        for query_id, ids in dataset.candidates.items():
            if len(set(ids)) < len(ids):
                raise DataError(str(path), f"gives query {query_id} a document twice")
            rankings[query_id] = in_order(ids)
        return cls("candidates", rankings, path)

    def write(self, path: str | Path) -> None:
        """Write the run in TREC's format, for trec_eval, ir-measures and others.

        Those sort by score and break ties by document id, so equal scores can change places.

        Raises:
            InputError: The run's name or an id has white space in it, which the format cannot hold.
        """
        lines = []
        for query_id, ranking in self.rankings.items():
            for rank, (document_id, score) in enumerate(ranking, 1):
                columns = (query_id, "Q0", document_id, str(rank), repr(float(score)), self.name)
                if len(" ".join(columns).split()) != len(columns):
                    raise InputError(f"TREC's format has no room for the white space in {columns}")
                lines.append(" ".join(columns) + "\n")
        Path(path).write_text("".join(lines), encoding="utf-8")

    def evaluate(self, judgements: Judgements, metric: Metric) -> dict[str, float]:
        """Return a metric's value for each judged query; one without a ranking scores 0."""
        return {
            query_id: metric([each.id for each in self.rankings.get(query_id, ())], grades)
            for query_id, grades in judgements.items()
        }


def in_order(document_ids: Iterable[str]) -> list[RankedDocument]:
    """Rank documents as they come; each scores 1 / rank, so that no two are equal."""
    return [RankedDocument(each, 1 / rank) for rank, each in enumerate(document_ids, start=1)]
