"""Few-shot answering by each scorer, against one prompt with the same passages.

    python benchmarks/few_shot_web.py DATA --llm MODEL --cache FILE [--questions 20]
        [--paragraphs 5] [--samples 3] [--examples FILE --shots 4]

DATA is a folder in the layout of BEIR whose questions have accepted answers. Passages come from a
lexical index of its corpus. DRAG reads them in one prompt and answers greedily; `FewShotWeb` reads
one paragraph at a time. Worked examples are those of a file that `rag examples build` wrote.

Printed for each are exact match, F1, accuracy and the share of answers that have a citation, and
what a question takes: calls, input tokens and output tokens. Scorers score the same answers, drawn
with one seed; what one of them has asked, the next has from the cache, and it counts the same.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import get_args

import rag
from rag.core import LLM, Allocation, Retriever, WorkedExample
from rag.core.worked_examples import read_examples
from rag.evaluation import AnswerReport, evaluate_answers, read_dataset
from rag.indexes import Collection
from rag.models import CachedLLM
from rag.pipelines import DRAG, Pipeline
from rag.pipelines.answer_scoring import Scorer
from rag.pipelines.few_shot_web import FewShotWeb
from rag.retrievers import LexicalRetriever
from rag.testing import HashEmbedder


def pipelines(
    retriever: Retriever, llm: LLM, examples: Sequence[WorkedExample], args: argparse.Namespace
) -> Iterator[tuple[str, Pipeline]]:
    """Yield the pipelines that are compared, by name."""
    allocation = Allocation(args.paragraphs, args.shots if examples else 0)
    yield "DRAG", DRAG(retriever, llm, allocation=allocation, examples=examples)
    for per_token, form in ((True, "means"), (False, "sums")):
        for scorer in get_args(Scorer):
            pipeline = FewShotWeb(
                retriever,
                llm,
                examples=examples,
                top_k=args.paragraphs,
                paragraphs=args.paragraphs,
                samples=args.samples,
                shots=args.shots,
                scorer=scorer,
                per_token=per_token,
            )
            yield f"{scorer}, {form}", pipeline


def show(name: str, report: AnswerReport) -> None:
    """Print a line."""
    answers = report.answers.values()
    scores = [*report.means.values(), fmean(each.supported for each in answers)]
    used, count = report.usage, len(answers)
    means = (used.calls / count, used.input_tokens / count, used.output_tokens / count)
    print(
        f"{name:22}",
        *(f"{each:9.2f}" for each in scores),
        *(f"{each:9,.0f}" for each in means),
        f"{len(report.errors) or ''}",
        flush=True,
    )


def main() -> None:
    """Answer the same questions by every pipeline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--llm", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--paragraphs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--examples", type=Path)
    parser.add_argument("--shots", type=int, default=4)
    args = parser.parse_args()
    data = read_dataset(args.data)
    llm = CachedLLM(rag.load_llm(args.llm), args.cache)
    examples = read_examples(args.examples) if args.examples else []
    columns = ("EM", "F1", "accuracy", "cited", "calls", "input", "output")
    print(f"{'':22}", *(f"{each:>9}" for each in columns), flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Collection.create(Path(folder) / "corpus", HashEmbedder()) as collection,
    ):
        collection.add(data.documents())
        for name, pipeline in pipelines(LexicalRetriever(collection), llm, examples, args):
            show(name, evaluate_answers(data.queries[: args.questions], pipeline))


if __name__ == "__main__":
    main()
