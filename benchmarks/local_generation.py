"""Generation in this process: batches, beginnings read once, and transformers' own `generate`.

    python benchmarks/local_generation.py [rag] [short] [steps] [--dtype auto] [--runs 1]

Three workloads over the passages of `tests/data`, greedy:

- rag: 32 prompts of 1 to 6 passages and a question, no two with a passage in common; at most 32
  new tokens each;
- short: 32 questions alone; the same;
- steps: 4 questions of 5 steps each, as IterDRAG takes them (arXiv 2410.04343, section 3.3): the
  first prompt has ten passages, each further one goes on from it with two more; at most 16 new
  tokens each.

The first two are run in a batch, one prompt at a time, and by `generate` of transformers in
left-padded batches of 8 in the same order, on one set of weights and with nothing kept between
prompts. The third is run with and without what is kept. All ways take turns; the best of the runs
counts. Replies are compared with the first way's: in bfloat16, sums that are rounded differently in
a batch tip choices between two nearly equal tokens; with `--dtype float32` all are the same.
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
from rag.models.lanes import on_lane
from rag.models.prefix_cache import PrefixCache

DATA = Path(__file__).parents[1] / "tests" / "data"
SYSTEM = "Answer the question from the documents, in one sentence."
GREEDY = Sampling(max_tokens=32)
STEP = Sampling(max_tokens=16)


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
    """Return the prompts of five steps, for four questions each."""
    return [
        [
            Prompt(question, SYSTEM, tuple(passages[18 * number : 18 * number + 10 + 2 * step]))
            for number, question in enumerate(questions[:4])
        ]
        for step in range(5)
    ]


def singly(llm: TransformersLLM, prompts: Sequence[Prompt], sampling: Sampling) -> list[str]:
    """Return the replies to prompts, one at a time."""
    return [llm.generate([prompt], sampling)[0].text for prompt in prompts]


def together(llm: TransformersLLM, prompts: Sequence[Prompt], sampling: Sampling) -> list[str]:
    """Return the replies to prompts, in one call."""
    return [reply.text for reply in llm.generate(prompts, sampling)]


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
            f"{same}/{len(texts)} replies as {baseline}"
        )


def batches(llm: TransformersLLM, title: str, prompts: list[Prompt], runs: int) -> None:
    """Compare a batch with single prompts and with transformers."""
    counts = llm.count_tokens(prompts)
    ways = {
        "one at a time": lambda: singly(llm, prompts, GREEDY),
        "batch": lambda: together(llm, prompts, GREEDY),
        # On the same thread: a second one that computes would slow both down.
        "transformers, batches of 8": lambda: on_lane("cpu", by_transformers, llm, prompts),
    }
    title = f"{title}: {len(prompts)} prompts of {min(counts)} to {max(counts)} tokens"
    report(title, timed(ways, runs), "one at a time")


def prefixes(
    plain: TransformersLLM, keeping: TransformersLLM, trace: list[list[Prompt]], runs: int
) -> None:
    """Compare steps that read everything with steps that read what is new."""

    def all_steps(llm: TransformersLLM, way: Callable[..., list[str]]) -> list[str]:
        llm._reader.prefixes = PrefixCache(llm._reader.prefixes.capacity)  # of no earlier run
        return [text for step in trace for text in way(llm, step, STEP)]

    counts = plain.count_tokens([prompt for step in trace for prompt in step])
    title = f"{len(counts)} prompts of {min(counts)} to {max(counts)} tokens"
    for name, way in (("one at a time", singly), ("four at a time", together)):
        ways = {
            "nothing kept": lambda way=way: all_steps(plain, way),
            "beginnings kept": lambda way=way: all_steps(keeping, way),
        }
        report(f"steps, {name}: {title}", timed(ways, runs), "nothing kept")


def main() -> None:
    """Run the workloads that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", default=["rag", "short", "steps"])
    parser.add_argument("--llm", default="SmolLM2-135M-Instruct")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()

    plain = load_llm(options.llm, dtype=options.dtype, prefix_bytes=0)
    assert isinstance(plain, TransformersLLM)
    passages, questions = records("corpus.jsonl"), records("queries.jsonl")
    short = [Prompt(text) for text in questions[:32]]
    together(plain, short[:8], STEP)
    if "rag" in options.workloads:
        batches(plain, "rag", rag_prompts(passages, questions), options.runs)
    if "short" in options.workloads:
        batches(plain, "short", short, options.runs)
    if "steps" in options.workloads:
        keeping = load_llm(options.llm, dtype=options.dtype)
        assert isinstance(keeping, TransformersLLM)
        prefixes(plain, keeping, steps(passages, questions), options.runs)


if __name__ == "__main__":
    main()
