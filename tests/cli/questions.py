"""A few questions of HotpotQA with their own paragraphs, as a data set."""

import json
from pathlib import Path

HOTPOTQA = Path(__file__).parents[1] / "data" / "hotpotqa"


def write_questions(folder: Path, *numbers: int) -> Path:
    """Write the questions with the given numbers, and the documents that come with them."""
    folder.mkdir()
    candidates = _lines("candidates")
    chosen = {json.loads(candidates[number])["query_id"] for number in numbers}
    documents = {each for number in numbers for each in json.loads(candidates[number])["doc_ids"]}
    queries = [line for line in _lines("queries") if json.loads(line)["id"] in chosen]
    corpus = [line for line in _lines("corpus") if json.loads(line)["id"] in documents]
    (folder / "queries.jsonl").write_text("".join(queries), "utf-8")
    (folder / "corpus.jsonl").write_text("".join(corpus), "utf-8")
    return folder


def _lines(name: str) -> list[str]:
    with (HOTPOTQA / f"{name}.jsonl").open(encoding="utf-8") as file:
        return list(file)
