"""`rag rerank`, and what is reranked by the other commands."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rag.cli import main
from rag.core.generation import Prompt
from rag.evaluation import Run, read_dataset
from rag.models import registry
from rag.rerankers import registry as rerankers
from rag.testing import ScriptedLLM

HOTPOTQA = Path(__file__).parents[1] / "data" / "hotpotqa"
PAGES = Path(__file__).parents[2] / "examples" / "sqlite"

UseLLM = Callable[..., ScriptedLLM]


def rag(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return done


def rag_json(*arguments: object, code: int = 0) -> Any:
    return json.loads(rag(*arguments, "--json", code=code).stdout)


def backwards(prompt: Prompt) -> str:
    """Rank the last passage first; answer by quoting the first sentence of the best one."""
    count = len(prompt.contexts)
    if prompt.reply_prefix != "[":
        return "It is made up."
    return " > ".join(f"[{number}]" for number in range(count, 0, -1))[1:]


@pytest.fixture
def use_llm(monkeypatch: pytest.MonkeyPatch) -> UseLLM:
    """Have every command use a language model whose replies are given."""

    def use(reply: Callable[[Prompt], str], **options: Any) -> ScriptedLLM:
        llm = ScriptedLLM(reply, **options)
        for module in (registry, rerankers):
            monkeypatch.setattr(module, "load_llm", lambda name: llm)
        return llm

    return use


@pytest.fixture
def unjudged(tmp_path: Path) -> Path:
    """A data set without judgements and candidates."""
    folder = tmp_path / "unjudged"
    folder.mkdir()
    for name in ("corpus.jsonl", "queries.jsonl"):
        shutil.copy(HOTPOTQA / name, folder)
    return folder


def first_ids(count: int) -> list[tuple[str, list[str]]]:
    candidates = Run.of_candidates(read_dataset(HOTPOTQA)).rankings
    return [(query, [each.id for each in candidates[query]]) for query in list(candidates)[:count]]


def test_a_real_model_reranks_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerankers, "load_llm", registry.load_llm)  # loaded once for all tests
    out = tmp_path / "reranked.run"
    said = rag_json(
        "rerank", HOTPOTQA, out, "--limit", 2, "--depth", 4, "--window", 3, "--stride", 2,
        "--passage-tokens", 40,
    )  # fmt: skip
    assert (said["dataset"], said["method"]) == ("hotpotqa", "sliding-first-token")
    assert said["windows"] == {"ok": 4}
    assert said["usage"]["calls"] == 4
    assert said["usage"]["output_tokens"] == 0 < said["usage"]["input_tokens"]
    assert list(said["notes"]) == ["passages shortened to 40 tokens"]
    run = Run.read(out)
    for query, ids in first_ids(2):
        ranked = [each.id for each in run.rankings[query]]
        assert sorted(ranked[:4]) == sorted(ids[:4])
        assert ranked[4:] == ids[4:]
    judgements = {query: read_dataset(HOTPOTQA).judgements[query] for query, _ in first_ids(2)}
    assert said["comparisons"]["nDCG@10"]["queries"] == len(judgements)


def test_a_run_is_reranked_and_scored_against_itself(tmp_path: Path, use_llm: UseLLM) -> None:
    use_llm(backwards)
    command = ("rerank", HOTPOTQA, tmp_path / "out.run", "-m", "full-permutation")
    shown = rag(*command, "--limit", 3).stdout
    assert "nDCG@10" in shown
    assert "windows ok" in shown
    again = rag_json(*command, "--run", tmp_path / "out.run")
    assert again["queries"] == 3
    run = Run.read(tmp_path / "out.run")
    for query, ids in first_ids(3):
        assert [each.id for each in run.rankings[query]] == ids  # turned around twice


def test_a_folder_needs_no_judgements(tmp_path: Path, unjudged: Path, use_llm: UseLLM) -> None:
    use_llm(backwards)
    Run.of_candidates(read_dataset(HOTPOTQA)).write(tmp_path / "first.run")
    said = rag_json(
        "rerank", unjudged, tmp_path / "out.run", "--run", tmp_path / "first.run",
        "-m", "sliding-permutation", "--limit", 1,
    )  # fmt: skip
    assert said["comparisons"] == {}
    assert len(Run.read(tmp_path / "out.run").rankings) == 1
    done = rag("rerank", unjudged, tmp_path / "out.run", code=3)
    assert "candidates.jsonl" in done.stderr


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("5a7613c15542994ccc9186bf Q0 nowhere 1 1.0 x", "ranks nowhere for query 5a7613c1"),
        ("nobody Q0 hr00000 1 1.0 x", "query nobody, which is not in queries.jsonl"),
    ],
)
def test_what_a_run_names_and_the_folder_has_not_is_an_input_error(
    tmp_path: Path, use_llm: UseLLM, line: str, reason: str
) -> None:
    llm = use_llm(backwards)
    (tmp_path / "first.run").write_text(line)
    done = rag("rerank", HOTPOTQA, tmp_path / "out.run", "--run", tmp_path / "first.run", code=3)
    assert f"{tmp_path / 'first.run'}: ranks" in done.stderr
    assert reason in done.stderr
    assert llm.calls == []
    assert not (tmp_path / "out.run").exists()


def test_a_budget_ends_in_part(tmp_path: Path, use_llm: UseLLM) -> None:
    use_llm(backwards)
    done = rag(
        "rerank", HOTPOTQA, tmp_path / "out.run", "-m", "sliding-permutation", "--limit", 2,
        "--window", 4, "--stride", 2, "--budget-calls", 1, code=7,
    )  # fmt: skip
    (first, _), (second, _) = first_ids(2)
    assert f"not finished within the budget: {first}, {second}" in done.stderr
    assert "windows skipped" in done.stdout
    assert len(Run.read(tmp_path / "out.run").rankings) == 2


def test_a_query_that_fails_is_named_and_keeps_its_order(tmp_path: Path, use_llm: UseLLM) -> None:
    command = ("rerank", HOTPOTQA, tmp_path / "out.run", "-m", "full-permutation", "--limit", 2)
    use_llm(backwards, context_window=830)  # of two prompts of 772 and 847 words
    done = rag(*command, code=7)
    first, (query, ids) = first_ids(2)
    assert f"{query} keeps its old ranking: scripted: 8" in done.stderr
    assert first[0] not in done.stderr
    assert [each.id for each in Run.read(tmp_path / "out.run").rankings[query]] == ids
    use_llm(backwards, context_window=100)
    assert "do not fit the window of 100" in rag(*command, code=4).stderr


def test_help_names_every_method() -> None:
    shown = "".join(rag("rerank", "--help").stdout.split())
    for method in rerankers.METHODS:
        parts = re.fullmatch(r"(.*?)(-first-token|-permutation)?", method)
        assert parts
        assert all(part in shown for part in parts.groups() if part)


def test_wrong_options_are_refused_before_any_work(tmp_path: Path, use_llm: UseLLM) -> None:
    llm = use_llm(backwards)
    out = tmp_path / "out.run"
    assert "takes no children" in rag("rerank", HOTPOTQA, out, "--children", 2, code=3).stderr
    assert "tournament-first-token" in rag("rerank", HOTPOTQA, out, "-m", "best", code=3).stderr
    assert "no folder" in rag("rerank", HOTPOTQA, tmp_path / "none" / "out.run", code=2).stderr
    for command in (("eval", "retrieval", HOTPOTQA), ("search", out, "x"), ("ask", out, "x")):
        done = rag(*command, "--passage-tokens", 9, code=2)
        assert "--passage-tokens needs --rerank" in done.stderr
    done = rag("eval", "retrieval", HOTPOTQA, "--budget-calls", 9, code=2)
    assert "--budget-calls needs --rerank" in done.stderr
    assert "--extractive" in rag("ask", out, "x", "--extractive", "--rerank", "x", code=2).stderr
    assert llm.calls == []
    assert not out.exists()


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reranked") / "docs.rag"
    rag("index", "create", path, PAGES / "nulls.html", PAGES / "mmap.html")
    return path


def test_hits_of_a_search_are_reranked(collection: Path, use_llm: UseLLM) -> None:
    use_llm(backwards)
    search = ("search", collection, "memory-mapped I/O", "--retriever", "lexical")
    plain = rag_json(*search, "--top-k", 4)["hits"]
    said = rag_json(*search, "--top-k", 2, "--rerank", "sliding-permutation", "--candidates", 4)
    assert [hit["passage"]["id"] for hit in said["hits"]] == [
        hit["passage"]["id"] for hit in plain[:1:-1]
    ]
    assert said["hits"][0]["ranks"]["retrieved"] == 4
    assert said["complete"]
    assert said["usage"]["calls"] == 1
    shown = rag(*search, "--rerank", "full-permutation", "--candidates", 4)
    assert "full-permutation 1" in shown.stdout
    assert shown.stderr == ""


def test_a_search_says_what_its_reranker_did_not_do(collection: Path, use_llm: UseLLM) -> None:
    use_llm(lambda prompt: "I would rather not.")
    search = ("search", collection, "memory-mapped I/O", "--retriever", "lexical")
    done = rag(*search, "--rerank", "full-permutation")
    assert "windows unreadable: 1 of 1" in done.stderr


def test_a_question_is_answered_from_what_the_reranker_chose(
    collection: Path, use_llm: UseLLM
) -> None:
    llm = use_llm(backwards)
    ask = (
        "ask", collection, "How is memory-mapped I/O disabled?", "--retriever", "lexical",
        "--top-k", 1, "--rerank", "sliding-permutation", "--candidates", 3,
    )  # fmt: skip
    shown = rag(*ask).stdout
    assert shown.startswith("It is made up.")  # and not with the ranking
    ranked, read = (prompts[0] for capability, prompts in llm.calls if capability != "next_token")
    assert len(ranked.contexts) == 3
    assert len(read.contexts) == 1
