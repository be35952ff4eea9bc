"""Whether compilation and static shapes pay for decoding, beside how replies are written here.

    python benchmarks/compiled_decoding.py [--llm NAME] [--dtype auto] [--tokens 32]

Times a decoding step at batch sizes 1 and 8 after 256 tokens of prompt: as the backend does it,
with buffers that grow in place; and with transformers' static cache and `torch.compile`. Steps are
timed after the compilation, whose seconds are printed apart. The median step counts.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import StaticCache

from rag import load_llm
from rag.models import TransformersLLM

PROMPT = 256


def median_ms(step: Callable[[], object], count: int) -> float:
    """Return the median milliseconds of some calls."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def growing(llm: TransformersLLM, rows: int, count: int) -> float:
    """Return the milliseconds of a step as the backend takes it."""
    model = llm._model
    state = model.nothing_read(rows)
    model.read([list(range(100, 100 + PROMPT))] * rows, state)
    return median_ms(lambda: model.read([[100]] * rows, state), count)


def compiled(llm: TransformersLLM, rows: int, count: int) -> tuple[float, float]:
    """Return the milliseconds of a compiled step, and the seconds of compiling it."""
    model = llm._model._model
    cache = StaticCache(config=model.config, max_cache_len=PROMPT + count + 8)
    ids = torch.arange(100, 100 + PROMPT).repeat(rows, 1)
    model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    forward = torch.compile(model.forward, dynamic=False)
    token, place = torch.full((rows, 1), 100), torch.tensor([[PROMPT]])

    def step() -> None:
        forward(
            input_ids=token,
            position_ids=place.expand(rows, 1),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        place.add_(1)

    began = time.perf_counter()
    step()
    step()
    return median_ms(step, count), time.perf_counter() - began


def main() -> None:
    """Time both ways at two batch sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llm", default="SmolLM2-135M-Instruct")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()
    llm = load_llm(options.llm, dtype=options.dtype)
    assert isinstance(llm, TransformersLLM)
    with torch.inference_mode():
        for rows in (1, 8):
            own = growing(llm, rows, options.tokens)
            other, seconds = compiled(llm, rows, options.tokens)
            print(
                f"{rows} rows: {own:.1f} ms a step here, {other:.1f} ms compiled "
                f"({own / other:.2f} x), after {seconds:.0f} s of compiling"
            )


if __name__ == "__main__":
    main()
