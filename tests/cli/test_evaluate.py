"""`rag eval` on a small real set."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rag.cli import main
from rag.core.generation import Prompt
from rag.evaluation import Metric, Run, read_dataset
from rag.testing import ScriptedLLM

XQUAD = Path(__file__).parents[1] / "data" / "xquad"


def evaluate(*arguments: object, what: str = "retrieval", code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["eval", what, *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("eval")


@pytest.fixture(scope="module")
def dataset(kept: Path) -> Path:
    """The first 40 paragraphs, and the questions about them."""
    folder = kept / "xquad"
    folder.mkdir()
    corpus = (XQUAD / "corpus.jsonl").read_text("utf-8").splitlines(keepends=True)[:40]
    (folder / "corpus.jsonl").write_text("".join(corpus), "utf-8")
    shutil.copy(XQUAD / "queries.jsonl", folder)
    ids = {json.loads(line)["id"] for line in corpus}
    judged = (XQUAD / "qrels.tsv").read_text("utf-8").splitlines(keepends=True)[1:]
    kept_lines = [line for line in judged if line.split("\t")[1] in ids]
    (folder / "qrels.tsv").write_text("".join(kept_lines), "utf-8")
    return folder


@pytest.fixture(scope="module")
def lexical(dataset: Path, kept: Path) -> dict[str, Any]:
    """Scores of lexical search; the collection and the run are kept."""
    done = evaluate(
        dataset, "--retriever", "lexical", "--collection", kept / "xquad.rag", "--save",
        kept / "lexical.run", "--json",
    )  # fmt: skip
    return json.loads(done.stdout)


def test_scores_every_query(lexical: dict[str, Any]) -> None:
    count = lexical["queries"]
    assert count > 50
    for metric, values in lexical["values"].items():
        assert len(values) == count
        assert lexical["means"][metric] == pytest.approx(sum(values.values()) / count)
    assert lexical["means"]["nDCG@10"] > 0.9  # paragraphs share their questions' words


def test_a_run_equals_itself(lexical: dict[str, Any], dataset: Path, kept: Path) -> None:
    done = evaluate(
        dataset, "--retriever", "lexical", "--collection", kept / "xquad.rag", "--compare",
        kept / "lexical.run", "--json",
    )  # fmt: skip
    for each in json.loads(done.stdout)["comparisons"].values():
        assert (each["difference"], each["p_value"], each["wins"]) == (0, 1, 0)


def test_two_retrievers_are_compared_and_each_query_shown(
    lexical: dict[str, Any], dataset: Path, kept: Path
) -> None:
    shown = evaluate(
        dataset, "--retriever", "dense", "--collection", kept / "xquad.rag", "--compare",
        kept / "lexical.run", "--metric", "MRR@10", "--per-query",
    ).stdout  # fmt: skip
    assert f"{lexical['means']['MRR@10']:.4f}" in shown
    assert "p" in shown.split("metric")[1].split("\n")[0].split()
    assert all(query in shown for query in lexical["values"]["MRR@10"])


def test_what_is_found_is_reranked_and_scored_against_it(
    lexical: dict[str, Any], dataset: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backwards(prompt: Prompt) -> str:
        return " > ".join(f"[{number}]" for number in range(len(prompt.contexts), 0, -1))[1:]

    monkeypatch.setattr("rag.rerankers.registry.load_llm", lambda name: ScriptedLLM(backwards))
    command = (
        dataset, "--retriever", "lexical", "--collection", kept / "xquad.rag", "--metric", "MRR@10",
        "--rerank", "full-permutation", "--depth", 3,
    )  # fmt: skip
    said = json.loads(evaluate(*command, "--save", kept / "reranked.run", "--json").stdout)
    before = lexical["values"]["MRR@10"]
    assert said["reranking"]["retrieved"] == {"MRR@10": before}
    assert said["reranking"]["queries"] == lexical["queries"]
    gain = said["reranking"]["comparisons"]["MRR@10"]
    assert gain["baseline_mean"] == lexical["means"]["MRR@10"]
    assert gain["mean"] == said["means"]["MRR@10"]
    run = Run.read(kept / "reranked.run")
    turned = [query for query, ranking in run.rankings.items() if len(ranking) > 1]
    assert said["reranking"]["windows"] == {"ok": len(turned)}
    assert gain["losses"] == sum(before[query] == 1 for query in turned)
    judgements = read_dataset(dataset).judgements
    assert run.evaluate(judgements, Metric.parse("MRR@10")) == said["values"]["MRR@10"]
    shown = evaluate(*command, "--compare", kept / "lexical.run").stdout
    assert shown.count(f"{said['means']['MRR@10']:.4f}") == 2  # against lexical and the baseline
    assert "lexical" in shown.split("\n")[0]
    assert "tokens read" in shown


def test_a_folder_that_is_no_data_set_is_an_input_error(tmp_path: Path) -> None:
    assert "corpus.jsonl" in evaluate(tmp_path, code=3).stderr


def test_an_unknown_metric_is_an_input_error(
    lexical: dict[str, Any], dataset: Path, kept: Path
) -> None:
    evaluate(
        dataset, "--collection", kept / "xquad.rag", "--retriever", "lexical", "--metric", "F7",
        code=3,
    )  # fmt: skip


def test_answers_are_scored_and_a_second_run_asks_no_model(
    lexical: dict[str, Any], dataset: Path, kept: Path
) -> None:
    options = (
        dataset, "--collection", kept / "xquad.rag", "--retriever", "lexical", "--limit", "3",
        "--top-k", "2", "--cache", kept / "replies.sqlite",
    )  # fmt: skip
    first = json.loads(evaluate(*options, "--json", what="answers").stdout)
    assert first["usage"]["calls"] == 3
    assert first["usage"]["cache_hits"] == 0
    assert set(first["values"]) == {"EM", "F1", "accuracy"}
    assert len(first["answers"]) == 3
    again = json.loads(evaluate(*options, "--json", what="answers").stdout)
    assert again["usage"]["cache_hits"] == 3
    assert again["usage"]["input_tokens"] == first["usage"]["input_tokens"]
    assert again["means"] == first["means"]
    shown = evaluate(*options, "--per-query", what="answers").stdout
    assert "3 of 3 calls had been made before" in shown
    assert f"{first['means']['F1']:.4f}" in shown
    anew = json.loads(evaluate(*options, "--no-cache", "--json", what="answers").stdout)
    assert anew["usage"]["cache_hits"] == 0


def test_answers_of_a_strategy_are_scored(
    lexical: dict[str, Any], dataset: Path, kept: Path
) -> None:
    options = (
        dataset, "--collection", kept / "xquad.rag", "--retriever", "lexical", "--limit", "2",
        "--no-cache", "--json",
    )  # fmt: skip
    few_words = ("--strategy", "IterDRAG k=1 n=1")
    said = json.loads(evaluate(*options, *few_words, what="answers").stdout)
    assert said["usage"]["calls"] >= 2
    assert [answer["hits"] != [] for answer in said["answers"].values()] == [True, True]
    refused = evaluate(*options, "--strategy", "DRAG k=1,2", what="answers", code=2)
    assert "2 allocations; name one" in refused.stderr
    unknown = evaluate(*options, "--strategy", "DRAGON k=1", what="answers", code=3)
    assert "no strategy 'DRAGON'" in unknown.stderr
    alone = evaluate(*options, "--examples", dataset, what="answers", code=2)
    assert "for a --strategy" in alone.stderr
