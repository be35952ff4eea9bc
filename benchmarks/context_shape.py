"""Time to first token over cached contexts, for a model of any shape with random weights.

    python benchmarks/context_shape.py [--shape llama-8b] [--tokens 131072] [--context 512]
        [--device cuda] [--dtype bfloat16] [--runs 3]

What attention and the layers cost does not depend on the weights, so this measures models that are
not at hand. It compares one sequential prefill of all tokens with a question over the same tokens
as contexts of `--context` tokens each, encoded before; it prints what encoding took, and memory.
The model is written to a temporary folder, in bfloat16 16 GB for `llama-8b`.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rag.context import ApeSettings, ParallelLLM
from rag.core import Prompt, Sampling
from rag.models import TransformersLLM

WORDS = 2000
FIRST = Sampling(max_tokens=1)
SHAPES = {
    "llama-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "smollm2-135m": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}


def write_model(folder: Path, shape: str, dtype: torch.dtype, positions: int) -> None:
    """Write a model of a shape with random weights, whose tokens are whole words."""
    words = {f"w{number}": number for number in range(WORDS)} | {"<unk>": WORDS, "<end>": WORDS + 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.save_pretrained(folder)
    config = LlamaConfig(
        **SHAPES[shape],
        vocab_size=WORDS + 2,
        max_position_embeddings=positions,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
        eos_token_id=WORDS + 1,
        dtype=dtype,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    LlamaForCausalLM(config).save_pretrained(folder)
    torch.set_default_dtype(torch.float32)


def words(count: int, seed: int) -> str:
    """Return so many words at random."""
    chosen = random.Random(seed).choices(range(WORDS), k=count)
    return " ".join(f"w{number}" for number in chosen)


def timed(llm: TransformersLLM | ParallelLLM, prompts: list[Prompt]) -> float:
    """Return the median seconds to the first token over prompts."""
    seconds = []
    for prompt in prompts:
        began = time.perf_counter()
        llm.generate([prompt], FIRST)
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def gigabytes(device: str) -> str:
    """Return the most memory that was in use on a GPU since the last call."""
    if device == "cpu":
        return ""
    most = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    return f", at most {most:.1f} GB in use"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="llama-8b")
    parser.add_argument("--tokens", type=int, default=131_072)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        window = args.tokens + 1024
        write_model(folder, args.shape, getattr(torch, args.dtype), window)
        plain = TransformersLLM(folder, device=args.device, dtype=args.dtype, prefix_bytes=0)
        count = args.tokens // args.context
        contexts = tuple(words(args.context, number) for number in range(count))
        questions = [
            Prompt(words(32, -run - 1), words(32, -1), contexts) for run in range(args.runs + 1)
        ]
        tokens = plain.count_tokens(questions[:1])[0]
        print(f"{args.shape}, {count} contexts, {tokens} tokens with the question, {args.device}")
        states = ParallelLLM(plain, ApeSettings(), ram_bytes=64 << 30, gpu_bytes=64 << 30)
        began = time.perf_counter()
        states.prefill(questions[:1])
        encoding = time.perf_counter() - began
        size = states.state_bytes(questions[:1])
        print(f"encoding: {encoding:.2f} s, {size / 1e9:.2f} GB{gigabytes(args.device)}")
        timed(states, questions[:1])  # what is compiled, is compiled now
        cached = timed(states, questions[1:])
        print(f"first token, contexts encoded: {cached:.4f} s{gigabytes(args.device)}")
        timed(plain, [Prompt("w1", words(1000, 1))])
        sequential = timed(plain, questions[1:2])
        print(f"first token, read in sequence: {sequential:.2f} s{gigabytes(args.device)}")
        print(f"sequential to encoded: {sequential / cached:.1f} times")


if __name__ == "__main__":
    main()
