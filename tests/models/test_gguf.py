import json
from pathlib import Path

import gguf
import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

import rag.models.gguf as module
from rag.core.errors import ModelError
from rag.core.generation import Prompt, Sampling
from rag.models.gguf import cache_dir, converted
from rag.models.transformers_llm import TransformersLLM

LLAMA_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(folder: Path, path: Path) -> None:
    """Write a tiny Llama model as llama.cpp's converter does."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    added = tokenizer.get_added_vocab()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if each in added else gguf.TokenType.NORMAL for each in tokens]
    )
    writer.add_token_merges([" ".join(pair) for pair in spec["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    for name, tensor in model.state_dict().items():
        weight = tensor.numpy()
        stem = name.removesuffix(".weight")
        if stem in ("model.embed_tokens", "model.norm", "lm_head"):
            short = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
            writer.add_tensor(f"{short[stem.removeprefix('model.')]}.weight", weight)
            continue
        _, _, layer, part = stem.split(".", 3)
        if part in ("self_attn.q_proj", "self_attn.k_proj"):
            queries = part.endswith("q_proj")
            heads = config.num_attention_heads if queries else config.num_key_value_heads
            rows, columns = weight.shape
            halves = weight.reshape(heads, 2, rows // heads // 2, columns)
            weight = halves.swapaxes(1, 2).reshape(rows, columns)
        writer.add_tensor(f"blk.{layer}.{LLAMA_NAMES[part]}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def gguf_file(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(tiny, path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def test_reads_the_model_that_was_written(gguf_file: Path, tiny: Path, cache: Path) -> None:
    prompts = [Prompt("Which capital?", contexts=("<|im_end|> Paris",)), Prompt("Why?", "Be brief")]
    tails = ["Paris is 330 metres", "é"]
    original = TransformersLLM(tiny, dtype="float32")
    read = TransformersLLM(gguf_file, dtype="float32")
    assert (read.name, read.context_window) == ("tiny", original.context_window)
    assert read.count_tokens(prompts) == original.count_tokens(prompts)
    for mine, theirs in zip(
        read.score(prompts, tails), original.score(prompts, tails), strict=True
    ):
        assert mine.token_logprobs == pytest.approx(theirs.token_logprobs, abs=1e-4)
    sampling = Sampling(max_tokens=20)
    assert read.generate(prompts, sampling) == original.generate(prompts, sampling)


def test_converts_once(gguf_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = converted(gguf_file, torch.float32)
    assert folder.parent == cache
    monkeypatch.setattr(module, "_convert", None)
    assert converted(gguf_file, torch.float32) == folder
    assert [each.name for each in cache.iterdir()] == [folder.name]


def test_folders_differ_by_content_and_format(
    gguf_file: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_convert", lambda path, dtype, target: target.mkdir())
    other = tmp_path / gguf_file.name
    other.write_bytes(gguf_file.read_bytes() + b"\0")
    folders = {
        converted(gguf_file, torch.float32),
        converted(gguf_file, torch.bfloat16),
        converted(other, torch.float32),
    }
    assert len(folders) == 3


@pytest.mark.parametrize("error", [OSError("full"), SafetensorError("full"), KeyboardInterrupt()])
def test_a_conversion_that_fails_leaves_nothing(
    gguf_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def half(path: Path, dtype: torch.dtype, target: Path) -> None:
        target.mkdir()
        (target / "config.json").write_text("{")
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(module, "_convert", half)
        with pytest.raises((ModelError, KeyboardInterrupt)):
            converted(gguf_file, torch.float32)
    assert list(cache.iterdir()) == []
    assert (converted(gguf_file, torch.float32) / "model.safetensors").exists()


def test_the_slower_of_two_processes_takes_the_faster_ones_folder(
    gguf_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = module._convert

    def overtaken(path: Path, dtype: torch.dtype, target: Path) -> None:
        monkeypatch.setattr(module, "_convert", convert)
        converted(path, dtype)
        target.mkdir()

    monkeypatch.setattr(module, "_convert", overtaken)
    folder = converted(gguf_file, torch.float32)
    assert (folder / "model.safetensors").exists()
    assert list(cache.iterdir()) == [folder]


def test_a_broken_file_is_refused(cache: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match=r"broken\.gguf: not a GGUF file"):
        TransformersLLM(broken)


def test_cache_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("RAG_CACHE", raising=False)
    assert cache_dir() == Path("/x/ragmeter")
    monkeypatch.setenv("RAG_CACHE", "~/y")
    assert cache_dir() == Path.home() / "y"
