"""Time to first token over contexts that were encoded in parallel, beside other caches.

    python benchmarks/context_cache.py [contexts] [reply] [batch] [--sizes 1k,2k,4k,8k] [--runs 3]
        [--reply-size 4k] [--pool 20] [--json FILE] [--plot FILE.svg]
    python benchmarks/context_report.py FILE.json [--plot FILE.svg]

- contexts: a question over passages of HotpotQA in the shipped template, of each size in tokens
  (1k is 1,000). The passages were read before, in another order and with another question; each
  way keeps of that what it can:
  - parallel: the states of each passage, in RAM; or on disk only, at the first question after a
    restart (the files are in the system's page cache; their checksums are compared);
  - sequential: nothing;
  - prefix cache: what `TransformersLLM` keeps by default;
  - DynamicCache: what `generate` of transformers goes on from; copying it is not timed;
  - llama.cpp: what its server keeps by default, with 4-bit weights: its seconds compare with one
    another only; in brackets are those that it says it read. 'moved' is its `n_cache_reuse`, which
    takes over pieces that stand in the earlier prompt in the same order.
  The last three are also asked with the passages in the earlier order, where they are at their
  best. Then what encoding the passages in parallel costs, beside the sequential prompt. Above the
  model's window (32k) parallel is compared with sequential only, once: what the model writes there
  in sequence is of no use, but takes as long.
- reply: a whole reply of 32 tokens; they are prescribed, so that it ends nowhere earlier. Also
  with the last two passages in sequence.
- batch: eight questions in one call, each over three quarters of a pool of passages, in an order
  of its own; and the memory of states that they share.

All ways take turns, in every round with orders that were not read before; printed are medians, the
lowest and the highest. Ratios are seconds to those of parallel in RAM: below 1, it is the slower.
Before, parallel and sequential have to read the same tokens, and to agree where they should: on a
reply after a single passage, in float32, since bfloat16 rounds more than any mistake might be.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from context_peers import Keeper, KeptCache, KeptPrefixes, LlamaServer
from context_prompts import Asked, Prompts
from context_report import ENCODING, HYBRID, PARALLEL, SEQUENTIAL, report
from context_turns import FIRST_TOKEN, Ask, Outcome, Way, ask, timed

from rag.context import ApeSettings, ContextStore, ParallelLLM
from rag.context.encoded import EncodedContext
from rag.core import Prompt, Sampling
from rag.models import TransformersLLM, load_llm
from rag.models.gguf import converted
from rag.models.lanes import on_lane
from rag.models.machine import machine
from rag.models.prefix_cache import PrefixCache
from rag.models.registry import resolve

QUESTIONS = 8
REPLY = " again" * 32
MOVED = 32  # tokens; a passage has more
UNLIMITED = 1 << 20
TOLERANCE = 1e-3  # of log-probabilities in float32


class Benchmark:
    """Runs one part after the other.

    Args:
        args: The arguments of the command line.
        stack: Closes what is opened.
    """

    def __init__(self, args: argparse.Namespace, stack: ExitStack) -> None:
        self.args = args
        self.plain = loaded(args.llm)
        self.sequential = loaded(args.llm, prefix_bytes=0, context_window=UNLIMITED)
        self.keeping = loaded(args.llm)
        self.dtype = self.plain._model._model.dtype
        path = resolve(args.llm, "llm", None)
        is_gguf = path.suffix == ".gguf"
        folder = converted(path, self.dtype) if is_gguf else path
        self.keepers: dict[str, Keeper] = {
            "prefix cache": KeptPrefixes(self.keeping),
            "DynamicCache": KeptCache(folder, self.dtype, self.tokens),
        }
        if is_gguf:
            server = LlamaServer(path, self.plain.context_window, self.tokens)
            self.keepers["llama.cpp"] = stack.enter_context(server)
        self.prompts = Prompts(self.parallel())
        self.stack = stack
        for llm in (self.plain, self.sequential, self.keeping):
            ask(llm, [self.prompts.over(self.prompts.hits[:1])])  # weights come into memory

    def tokens(self, prompt: Prompt) -> list[int]:
        """Return what a prompt is when it is read in sequence."""
        (tokens,) = self.plain._encoder.render([prompt])
        return tokens

    def parallel(self, folder: str | None = None) -> ParallelLLM:
        """Return a model that has nothing in RAM yet; on disk what is in a folder, if any."""
        llm = self.plain
        store = ContextStore(Path(folder), llm.name, llm.revision) if folder else None
        return ParallelLLM(llm, ApeSettings(), store=store)

    def contexts(self, size: int) -> dict[str, Any]:
        """Time the first token over contexts of a size, and their encoding."""
        hits = self.prompts.up_to(size)
        rounds = self.prompts.rounds(hits, self.args.runs)
        earlier = rounds[0].earlier
        parallel = self.parallel()
        ask(parallel, [earlier])
        ways = self._our_ways(parallel, earlier)
        if len(self.tokens(earlier)) < self.plain.context_window:
            ways |= self._peers()
        else:
            rounds = rounds[:1]
        (prompt,) = parallel._render([earlier])
        states = [parallel.cache.get(prompt.prefix, each.tokens) for each in prompt.contexts]
        return {
            "passages": len(states),
            "tokens": sum(each.tokens for each in states),
            "state_bytes": sum(each.nbytes for each in states),
            "int8_bytes": sum(EncodedContext.quantised(each.states).nbytes for each in states),
            "runs": timed(ways, rounds),
        }

    def _our_ways(self, in_ram: ParallelLLM, earlier: Prompt) -> dict[str, Way]:
        folder = self.stack.enter_context(TemporaryDirectory(prefix="contexts-"))
        self.parallel(folder).prefill([earlier])

        def on_disk(asked: Asked) -> Ask:
            restarted = self.parallel(folder)
            return lambda: ask(restarted, [asked.other])

        def encoding(asked: Asked) -> Ask:
            empty = self.parallel()
            return lambda: Outcome(empty.prefill([asked.earlier]))

        return {
            PARALLEL: lambda asked: lambda: ask(in_ram, [asked.other]),
            "parallel, on disk": on_disk,
            SEQUENTIAL: lambda asked: lambda: ask(self.sequential, [asked.other]),
            ENCODING: encoding,
        }

    def _peers(self) -> dict[str, Way]:
        reader = self.keeping._reader
        reader.prefixes = PrefixCache(reader.prefixes.capacity)  # of no smaller size
        ways = {
            f"{name}, {order} order": self._kept(keeper, order)
            for name, keeper in self.keepers.items()
            for order in ("same", "other")
        }
        if llama := self.keepers.get("llama.cpp"):
            assert isinstance(llama, LlamaServer)
            # The server has come to know the other order, too.
            ways["llama.cpp moved, other order"] = self._kept(llama, "third", MOVED)
        return ways

    @staticmethod
    def _kept(keeper: Keeper, order: str, *options: int) -> Way:
        def way(asked: Asked) -> Ask:
            keeper.keep(asked.earlier)
            return keeper.going_on(getattr(asked, order), *options)

        return way

    def reply(self) -> dict[str, Any]:
        """Time replies over contexts: their first token, and all of them."""
        rounds = self.prompts.rounds(self.prompts.up_to(self.args.reply_size), self.args.runs)
        parallel = self.parallel()
        ask(parallel, [rounds[0].earlier])

        def way(llm: ParallelLLM | TransformersLLM, sampling: Sampling) -> Way:
            return lambda asked: lambda: ask(llm, [asked.other], sampling)

        ways = {
            f"{name}, {part}": way(llm, sampling)
            for name, llm in (
                (PARALLEL, parallel),
                (HYBRID, parallel.with_settings(ApeSettings(sequential=2))),
                (SEQUENTIAL, self.sequential),
            )
            for part, sampling in (("first token", FIRST_TOKEN), ("whole", self._prescribed()))
        }
        return {"tokens": len(self.tokens(rounds[0].other)), "runs": timed(ways, rounds)}

    def batch(self) -> dict[str, Any]:
        """Time a call with several questions over passages that overlap."""
        pool = self.prompts.hits[: self.args.pool]
        draw = random.Random(0)
        asked = [
            self.prompts.over(draw.sample(pool, 3 * len(pool) // 4), question)
            for question in range(QUESTIONS)
        ]
        sampling = self._prescribed()
        parallel = self.parallel()
        parallel.prefill(asked)
        ways: dict[str, Way] = {
            PARALLEL: lambda _: lambda: ask(parallel, asked, sampling),
            SEQUENTIAL: lambda _: lambda: ask(self.sequential, asked, sampling),
        }
        return {
            "questions": len(asked),
            "pool": len(pool),
            "passages": len(asked[0].contexts),
            "tokens": sum(parallel.count_tokens(asked)),
            "shared_bytes": on_lane("cpu", held, parallel, asked),
            "own_bytes": sum(parallel.state_bytes([prompt]) for prompt in asked),
            "runs": timed(ways, self.prompts.rounds(pool, self.args.runs)),
        }

    def _prescribed(self) -> Sampling:
        (tokens,) = self.plain._encoder.encode([REPLY])
        return Sampling(max_tokens=len(tokens), starts_with=(REPLY,))


def check(name: str) -> None:
    """Compare what parallel and sequential read and compute, where they have to agree."""
    sequential = loaded(name, dtype="float32", prefix_bytes=0)
    parallel = ParallelLLM(sequential, ApeSettings())
    prompts = Prompts(parallel)
    whole = prompts.over(prompts.hits)
    (apart,), (joined,) = parallel._render([whole]), sequential._render([whole])
    inner = [token for context in apart.contexts for token in context.tokens]
    if [*apart.prefix, *inner, *apart.tail] != joined:
        raise SystemExit("parallel and sequential read different tokens")
    single = prompts.over(prompts.hits[:1])
    ours, theirs = (
        llm.score([single], ["They are of the same kind."])[0].token_logprobs
        for llm in (parallel, sequential)
    )
    worst = max(abs(our - their) for our, their in zip(ours, theirs, strict=True))
    print(f"after a single passage, in float32, log-probabilities differ by {worst:.1g} at most")
    if worst > TOLERANCE:
        raise SystemExit("parallel and sequential have to agree there")


@torch.inference_mode()
def held(parallel: ParallelLLM, prompts: Sequence[Prompt]) -> int:
    """Return the bytes of contexts' states that a batch holds while replies are written."""
    readings = parallel._reader.read(parallel._render(prompts))
    groups = [group for reading in readings for group in reading.state.contexts.groups]
    return sum(group.states.nbytes for group in groups)


def loaded(name: str, **options: Any) -> TransformersLLM:
    """Return a model of this process."""
    llm = load_llm(name, device="cpu", **options)
    assert isinstance(llm, TransformersLLM)
    return llm


def size(text: str) -> int:
    """Return the number that a text such as '4k' stands for."""
    return 1000 * int(text[:-1]) if text.endswith("k") else int(text)


def measure(args: argparse.Namespace, results: dict[str, Any], save: Callable[[], None]) -> None:
    """Run the parts that are asked for, and add what each gives to the results."""
    check(args.llm)
    with ExitStack() as stack:
        benchmark = Benchmark(args, stack)
        results["model"] = f"{args.llm} in {str(benchmark.dtype).removeprefix('torch.')}"
        if "contexts" in args.parts:
            results["contexts"] = []
            for tokens in map(size, args.sizes.split(",")):
                results["contexts"].append(benchmark.contexts(tokens))
                save()
        for part in ("reply", "batch"):
            if part in args.parts:
                results[part] = getattr(benchmark, part)()
                save()


def main() -> None:
    """Measure, keep the figures and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["contexts", "reply", "batch"])
    parser.add_argument("--llm", default="SmolLM2-135M-Instruct")
    parser.add_argument("--sizes", default="1k,2k,4k,8k")
    parser.add_argument("--reply-size", type=size, default=4000)
    parser.add_argument("--pool", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(), "threads": torch.get_num_threads()}

    def save() -> None:
        if args.json:
            args.json.write_text(json.dumps(results, indent=1), "utf-8")

    measure(args, results, save)
    report(results, args.plot)


if __name__ == "__main__":
    main()
