"""vLLM itself, on a GPU or its CPU build: `pytest -m gpu tests/models/test_vllm_llm.py`."""

import gc
import json
import time
import weakref
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from rag.core.errors import ContextOverflow, InputError, ModelError, ModelNotFound, Unsupported
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.protocols import LLM
from rag.models.gguf import converted
from rag.models.registry import available_models
from rag.models.vllm_llm import VLLM
from rag.testing.llm_conformance import LLMConformance

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.filterwarnings("ignore"),  # those of vLLM
]

PROMPTS = [
    Prompt("Which capital?", contexts=("Paris is the capital of France. " * n,))
    for n in (0, 7, 1, 3)
]
# What vLLM would take for defaults of every request.
ADVICE = {"temperature": 1.5, "top_k": 3, "repetition_penalty": 2.0, "max_new_tokens": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 in float32, with a generation configuration that must not be followed."""
    (weights,) = (each for each in available_models() if each.kind == "llm" and each.installed)
    spec = find_spec(weights.package.replace("-", "_"))
    assert spec is not None
    assert spec.submodule_search_locations
    (gguf,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    folder = tmp_path_factory.mktemp("smollm2")
    for file in converted(gguf, torch.float32).iterdir():
        (folder / file.name).symlink_to(file)
    config = folder / "generation_config.json"
    advised = json.loads(config.read_text()) | ADVICE
    config.unlink()
    config.write_text(json.dumps(advised))
    return folder


def opened(folder: Path, **options: Any) -> VLLM:
    """Return an engine that starts soon and needs little memory."""
    return VLLM(
        folder,
        dtype="float32",
        context_window=1024,
        gpu_memory_utilization=0.3,
        enforce_eager=True,
        **options,
    )


@pytest.fixture(scope="module")
def smollm2(folder: Path) -> Iterator[VLLM]:
    llm = opened(folder, name="SmolLM2")
    yield llm
    llm.close()


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def plain_logprobs(model: Any, ids: list[int]) -> torch.Tensor:
    """Log-probabilities after each token, by one forward pass of transformers."""
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].log_softmax(-1)


class TestVLLM(LLMConformance):
    @pytest.fixture(autouse=True)
    def _loaded(self, smollm2: VLLM) -> None:
        self.loaded = smollm2

    def make_llm(self) -> LLM:
        return self.loaded


class TestReference:
    """Numbers against plain transformers."""

    tails = (" Paris", "Paris is the capital.", "東京", "")

    def test_greedy_replies_follow_no_advice(self, smollm2: VLLM, reference: Any) -> None:
        sampling = Sampling(max_tokens=10)
        for prompt, reply in zip(PROMPTS, smollm2.generate(PROMPTS, sampling), strict=True):
            (ids,) = smollm2._encoder.render([prompt])
            for _ in range(10):
                ids.append(int(plain_logprobs(reference, ids)[-1].argmax()))
                if ids[-1] == smollm2._engine.tokenizer.eos_token_id:
                    break
            written = ids[reply.input_tokens :]
            text = smollm2._engine.tokenizer.decode(written, skip_special_tokens=True)
            assert (reply.text, reply.output_tokens) == (text, len(written))

    def test_score(self, smollm2: VLLM, reference: Any) -> None:
        scores = smollm2.score(PROMPTS, self.tails)
        for prompt, tail, score in zip(PROMPTS, self.tails, scores, strict=True):
            (head,), (ids,) = smollm2._encoder.render([prompt]), smollm2._encoder.encode([tail])
            logprobs = plain_logprobs(reference, head + ids)
            expected = [logprobs[len(head) - 1 + n, token].item() for n, token in enumerate(ids)]
            assert score.token_logprobs == pytest.approx(expected, abs=2e-3)
            assert (score.input_tokens, score.cached_tokens) == (len(head) + len(ids), 0)

    def test_logprobs(self, smollm2: VLLM, reference: Any) -> None:
        """They are those before temperature and nucleus."""
        sampling = Sampling(max_tokens=4, temperature=2.0, top_p=0.5, seed=1, logprobs=3)
        (reply,) = smollm2.generate(PROMPTS[:1], sampling)
        (ids,) = smollm2._encoder.render(PROMPTS[:1])
        for token in reply.logprobs:
            logprobs = plain_logprobs(reference, ids)[-1]
            best = logprobs.topk(3)
            assert list(token.top.values()) == pytest.approx(best.values.tolist(), abs=2e-3)
            assert list(token.top) == [
                smollm2._encoder.text_of(each) for each in best.indices.tolist()
            ]
            (written,) = smollm2._encoder.encode([token.token])
            assert token.logprob == pytest.approx(logprobs[written].item(), abs=2e-3)
            ids += written

    @pytest.mark.parametrize("names_tokens", [True, False])
    def test_next_token(
        self, smollm2: VLLM, reference: Any, names_tokens: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(smollm2, "_names_tokens", names_tokens)
        tokens = ["A", "B", "The", "The"]
        wanted = dict(zip(tokens, (ids[0] for ids in smollm2._encoder.encode(tokens)), strict=True))
        for prompt, result in zip(PROMPTS, smollm2.next_token(PROMPTS, tokens), strict=True):
            (ids,) = smollm2._encoder.render([prompt])
            logprobs = plain_logprobs(reference, ids)[-1]
            for token, logprob in result.logprobs.items():
                assert logprob == pytest.approx(logprobs[wanted[token]].item(), abs=2e-3)
            if names_tokens:
                assert result.missing == ()
            elif result.missing:
                rank_20 = logprobs.topk(20).values[-1].item()
                assert result.missing_at_most == pytest.approx(rank_20, abs=2e-3)
                assert all(logprobs[wanted[token]] <= rank_20 for token in result.missing)


class TestSampling:
    def test_what_was_read_before_is_cached(self, smollm2: VLLM) -> None:
        prompts = [Prompt(f"{n}?", contexts=("The tower is 330 metres tall. " * 40,)) for n in "12"]
        smollm2.generate(prompts[:1], Sampling(max_tokens=1))
        (reply,) = smollm2.generate(prompts[1:], Sampling(max_tokens=1))
        assert 0.9 * reply.input_tokens < reply.cached_tokens < reply.input_tokens

    def test_beginnings_are_not_patterns(self, smollm2: VLLM) -> None:
        starts = ("a\\d+(b|c)*[d]{2}^$.?", 'x"y\n/-&#~\t é')
        for start in starts:
            sampling = Sampling(max_tokens=60, starts_with=(start, start + "!"))
            (reply,) = smollm2.generate(PROMPTS[:1], sampling)
            assert reply.text.startswith(start)

    def test_choices_are_exact_at_any_temperature(self, smollm2: VLLM) -> None:
        choices = ("Paris", "Par", "(yes|no)*", 'say "hi"\\n', "東京\n")
        sampling = Sampling(max_tokens=12, temperature=1.9, n=8, seed=1, choices=choices)
        found = {each.text for each in smollm2.generate(PROMPTS[:1], sampling)[0].samples}
        assert found <= {*choices}
        assert len(found) > 1

    def test_control_tokens_in_texts_are_text(self, smollm2: VLLM) -> None:
        (reply,) = smollm2.generate([Prompt("<|im_end|>")], Sampling(max_tokens=1))
        (plain,) = smollm2.count_tokens([Prompt("")])
        assert reply.input_tokens > plain + 1

    def test_more_logprobs_than_opened_for(self, smollm2: VLLM) -> None:
        with pytest.raises(InputError, match="logprobs is 21; SmolLM2 was opened with max_log"):
            smollm2.generate(PROMPTS, Sampling(logprobs=21))

    def test_logprobs_of_constrained_replies(self, smollm2: VLLM) -> None:
        with pytest.raises(Unsupported, match="TransformersLLM has them"):
            smollm2.generate(PROMPTS, Sampling(logprobs=1, choices=("A", "B")))

    @pytest.mark.parametrize(
        "sampling",
        [Sampling(temperature=3.0), Sampling(json_schema={"type": "nothing"})],
    )
    def test_what_vllm_refuses(self, smollm2: VLLM, sampling: Sampling) -> None:
        with pytest.raises(InputError, match="SmolLM2: "):
            smollm2.generate(PROMPTS, sampling)
        with pytest.raises(InputError, match="SmolLM2: "):
            list(smollm2.stream(PROMPTS[0], sampling))

    def test_a_choice_longer_than_max_tokens(self, smollm2: VLLM) -> None:
        with pytest.raises(InputError, match=r"'several words' has \d tokens, more than"):
            smollm2.generate(PROMPTS, Sampling(max_tokens=1, choices=("several words",)))

    def test_a_score_leaves_room_for_a_token(self, smollm2: VLLM) -> None:
        (read,) = smollm2.count_tokens([Prompt("")])
        text = " A" * (smollm2.context_window - read)
        with pytest.raises(ContextOverflow):
            smollm2.score([Prompt("")], [text])
        (score,) = smollm2.score([Prompt("")], [text[2:]])
        assert score.input_tokens == smollm2.context_window - 1


class TestStreams:
    def test_samples(self, smollm2: VLLM) -> None:
        sampling = Sampling(max_tokens=6, temperature=1.0, seed=2, n=3)
        *pieces, last = smollm2.stream(PROMPTS[0], sampling)
        assert isinstance(last, Reply)
        (reply,) = smollm2.generate(PROMPTS[:1], sampling)
        assert [each.text for each in last.samples] == [each.text for each in reply.samples]
        assert "".join(str(piece) for piece in pieces) == last.text

    def test_others_run_beside_a_stream_and_closing_aborts_it(self, smollm2: VLLM) -> None:
        engine = smollm2._engine._engine
        stream = smollm2.stream(Prompt("Count to a thousand."), Sampling(max_tokens=900))
        next(stream)
        assert smollm2.generate(PROMPTS[:1], Sampling(max_tokens=2))
        assert engine.output_processor.get_num_unfinished_requests() == 1
        del stream
        deadline = time.monotonic() + 10
        while engine.output_processor.get_num_unfinished_requests():
            assert time.monotonic() < deadline
            time.sleep(0.01)


class TestOpening:
    def test_adapter_and_closing(self, folder: Path, tmp_path: Path, smollm2: VLLM) -> None:
        """An adapter changes what the model says; a closed engine says so."""
        torch.manual_seed(0)
        layer = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
        tensors = {}
        for n in range(30):
            tensors[layer.format(n, "A")] = torch.randn(20, 576) / 24
            tensors[layer.format(n, "B")] = torch.randn(576, 20) / 4
        save_file(tensors, tmp_path / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": 20, "lora_alpha": 20, "target_modules": ["q_proj"]}
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))

        tuned = opened(folder, lora=tmp_path)
        (score,), (plain,) = (each.score(PROMPTS[:1], ["Paris"]) for each in (tuned, smollm2))
        assert abs(score.logprob - plain.logprob) > 0.1
        assert tuned.revision != smollm2.revision
        stream = tuned.stream(PROMPTS[0], Sampling(max_tokens=900))
        next(stream)
        tuned.close()
        with pytest.raises(ModelError, match="closed"):
            list(stream)
        with pytest.raises(ModelError, match="closed"):
            tuned.generate(PROMPTS, Sampling(max_tokens=1))
        tuned.close()

    def test_a_forgotten_engine_ends(self, folder: Path) -> None:
        forgotten = opened(folder)
        forgotten.generate(PROMPTS, Sampling(max_tokens=1))
        engine = weakref.ref(forgotten._engine._engine)
        thread = forgotten._engine._loop._thread
        del forgotten
        thread.join(30)
        assert not thread.is_alive()
        gc.collect()
        assert engine() is None

    def test_revision_and_name(self, smollm2: VLLM) -> None:
        assert smollm2.revision.split("-")[1] == "float32"
        assert (smollm2.name, smollm2.context_window, smollm2.prices) == ("SmolLM2", 1024, None)

    def test_no_model_there(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound, match="is not a folder"):
            VLLM(tmp_path / "nothing")
        with pytest.raises(ModelError, match="no weights in safetensors format"):
            VLLM(tmp_path)

    def test_a_broken_configuration(self, folder: Path, tmp_path: Path) -> None:
        for file in folder.iterdir():
            (tmp_path / file.name).symlink_to(file)
        (tmp_path / "config.json").unlink()
        (tmp_path / "config.json").write_text("{")
        with pytest.raises(ModelError, match="vLLM cannot load it"):
            VLLM(tmp_path)
