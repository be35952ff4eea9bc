"""Generation in this process: batches, beginnings read once, and transformers' own `generate`.

    python benchmarks/local_generation.py [--llm NAME] [--dtype bfloat16] [--runs 3]

Three workloads over the passages of `tests/data`, greedy, at most 32 new tokens each:

- rag: 32 prompts of 1 to 6 passages and a question, no two with a passage in common;
- short: 32 questions alone;
- steps: 8 questions of 5 steps each; every step's prompt goes on from the one before with two
  passages more, as IterDRAG's do (arXiv 2410.04343, section 3.3).

Each is run in a batch, one prompt at a time, and by `generate` of transformers in left-padded
batches of 8 in the same order; all on one set of weights and in turns. Nothing is kept between
prompts except where the line says "with prefixes". The best of the runs counts. Replies are
compared with those of single prompts; in bfloat16 sums that are rounded differently in a batch
can tip a choice between two near-equal tokens.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from rag import load_llm
from rag.core import Prompt, Sampling
from rag.models import TransformersLLM
from rag.models.prefix_cache import PrefixCache

DATA = Path(__file__).parents[1] / "tests" / "data"
SYSTEM = "Answer the question from the documents, in one sentence."
GREEDY = Sampling(max_tokens=32)


def records(name: str) -> list[str]:
    """Return the texts of a file of the data sets."""
    lines = [
        line
        for file in sorted(DATA.glob(f"*/{name}"))
        for line in file.read_text("utf-8").splitlines()
    ]
    return [json.loads(line)["text"] for line in lines]


def rag_prompts(passages: Sequence[str], questions: Sequence[str]) -> list[Prompt]:
    """Return 32 prompts of 1 to 6 passages, each passage used once."""
    unused = iter(passages)
    return [
        Prompt(question, SYSTEM, tuple(next(unused) for _ in range(1 + number % 6)))
        for number, question in enumerate(questions[:32])
    ]


def steps(passages: Sequence[str], questions: Sequence[str]) -> list[list[Prompt]]:
    """Return the prompts of five steps, for eight questions each."""
    return [
        [
            Prompt(question, SYSTEM, tuple(passages[10 * number : 10 * number + 2 * step]))
            for number, question in enumerate(questions[:8])
        ]
        for step in range(1, 6)
    ]


def singly(llm: TransformersLLM, prompts: Sequence[Prompt]) -> list[str]:
    """Return the replies to prompts, one at a time."""
    return [llm.generate([prompt], GREEDY)[0].text for prompt in prompts]


def together(llm: TransformersLLM, prompts: Sequence[Prompt]) -> list[str]:
    """Return the replies to prompts, in one call."""
    return [reply.text for reply in llm.generate(prompts, GREEDY)]


def by_transformers(llm: TransformersLLM, prompts: Sequence[Prompt]) -> list[str]:
    """Return what `generate` of transformers writes, eight prompts at a time."""
    model, tokenizer = llm._model._model, llm._model.tokenizer
    texts = []
    for start in range(0, len(prompts), 8):
        rows = llm._encoder.render(prompts[start : start + 8])
        longest = max(map(len, rows))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        with torch.inference_mode():
            written = model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=GREEDY.max_tokens,
                do_sample=False,
                pad_token_id=tokenizer.eos_token_id,
            )
        texts += tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)
    return texts


def timed(
    ways: dict[str, Callable[[], list[str]]], runs: int
) -> dict[str, tuple[float, list[str]]]:
    """Run all ways in turns; return the best seconds of each, and what it wrote."""
    best: dict[str, tuple[float, list[str]]] = {}
    for _ in range(runs):
        for name, way in ways.items():
            began = time.perf_counter()
            texts = way()
            seconds = time.perf_counter() - began
            if name not in best or seconds < best[name][0]:
                best[name] = seconds, texts
    return best


def report(title: str, best: dict[str, tuple[float, list[str]]], baseline: str) -> None:
    """Print each way beside the baseline."""
    print(f"\n{title}")
    base, expected = best[baseline]
    for name, (seconds, texts) in best.items():
        same = sum(one == other for one, other in zip(texts, expected, strict=True))
        print(
            f"  {name:34} {seconds:7.2f} s   {base / seconds:5.2f} x   "
            f"{same}/{len(texts)} replies as one at a time"
        )


def main() -> None:
    """Run all three workloads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llm", default="SmolLM2-135M-Instruct")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()

    plain = load_llm(options.llm, dtype=options.dtype, prefix_bytes=0)
    assert isinstance(plain, TransformersLLM)
    passages, questions = records("corpus.jsonl"), records("queries.jsonl")
    rag, short = rag_prompts(passages, questions), [Prompt(text) for text in questions[:32]]
    together(plain, short[:8])
    for title, prompts in (("rag", rag), ("short", short)):
        counts = plain.count_tokens(prompts)
        ways = {
            "one at a time": lambda prompts=prompts: singly(plain, prompts),
            "batch": lambda prompts=prompts: together(plain, prompts),
            "transformers, batches of 8": lambda prompts=prompts: by_transformers(plain, prompts),
        }
        title = f"{title}: 32 prompts of {min(counts)} to {max(counts)} tokens"
        report(title, timed(ways, options.runs), "one at a time")

    trace = steps(passages, questions)
    flat = [prompt for step in trace for prompt in step]

    reusing = load_llm(options.llm, dtype=options.dtype)
    assert isinstance(reusing, TransformersLLM)

    def with_prefixes(way: Callable[[TransformersLLM, Sequence[Prompt]], list[str]]) -> list[str]:
        reusing._reader.prefixes = PrefixCache(1 << 30)  # nothing is left from the last run
        return [text for step in trace for text in way(reusing, step)]

    ways = {
        "one at a time": lambda: singly(plain, flat),
        "one at a time, with prefixes": lambda: with_prefixes(singly),
        "steps in batches": lambda: [text for step in trace for text in together(plain, step)],
        "steps in batches, with prefixes": lambda: with_prefixes(together),
    }
    counts = plain.count_tokens(flat)
    report(
        f"steps: 40 prompts of {min(counts)} to {max(counts)} tokens",
        timed(ways, options.runs),
        "one at a time",
    )


if __name__ == "__main__":
    main()
