from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

from rag.core.errors import BatchError, ContextOverflow, InputError, ModelError, ModelNotFound
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.protocols import LLM
from rag.models.transformers_llm import TransformersLLM
from rag.testing.llm_conformance import LLMConformance, written
from tests.models.conftest import MakeModel

PROMPTS = [
    Prompt("Which capital?", contexts=("Paris is the capital of France. " * n,))
    for n in (0, 7, 1, 3, 0, 5)
]


class TestSmolLM2(LLMConformance):
    @pytest.fixture(autouse=True)
    def _loaded(self, smollm2: TransformersLLM) -> None:
        self.smollm2 = smollm2

    def make_llm(self) -> LLM:
        return self.smollm2


class TestTinyModel(LLMConformance):
    @pytest.fixture(autouse=True)
    def _loaded(self, llm_of_tiny: TransformersLLM) -> None:
        self.loaded = llm_of_tiny

    def make_llm(self) -> LLM:
        return self.loaded


@pytest.fixture(scope="module")
def llm_of_tiny(tiny: Path) -> TransformersLLM:
    return TransformersLLM(tiny, dtype="float32")


@pytest.fixture(scope="module", params=["tiny", "smollm2"])
def llm(request: pytest.FixtureRequest, tiny: Path) -> TransformersLLM:
    if request.param == "smollm2":
        loaded: TransformersLLM = request.getfixturevalue("smollm2")
        return loaded
    return TransformersLLM(tiny, dtype="float32")


def plain_logprobs(llm: TransformersLLM, ids: list[int]) -> torch.Tensor:
    """Log-probabilities after each token, by one plain forward pass without padding."""
    with torch.inference_mode():
        logits = llm._model._model(torch.tensor([ids])).logits[0]
    return logits.log_softmax(-1)


@contextmanager
def projected(llm: TransformersLLM) -> Iterator[list[tuple[int, int]]]:
    """Record the shape (rows, positions) of every projection onto the vocabulary."""
    shapes: list[tuple[int, int]] = []

    def record(_: Any, inputs: Any) -> None:
        shapes.append(tuple(inputs[0].shape[:2]))

    handle = llm._model._model.lm_head.register_forward_pre_hook(record)
    try:
        yield shapes
    finally:
        handle.remove()


class TestReference:
    """Numbers against plain transformers."""

    tails = (" Paris", "Paris is the capital.", "東京", "", "A", " 330 metres")

    def test_score(self, llm: TransformersLLM) -> None:
        scores = llm.score(PROMPTS, self.tails)
        for prompt, tail, score in zip(PROMPTS, self.tails, scores, strict=True):
            (head,) = llm._encoder.render([prompt])
            (ids,) = llm._encoder.encode([tail])
            logprobs = plain_logprobs(llm, head + ids)
            expected = [logprobs[len(head) - 1 + n, token].item() for n, token in enumerate(ids)]
            assert score.token_logprobs == pytest.approx(expected, abs=2e-3)
            assert score.input_tokens == len(head) + len(ids)

    def test_next_token(self, llm: TransformersLLM) -> None:
        tokens = ["A", "B", "P"]
        wanted = [ids[0] for ids in llm._encoder.encode(tokens)]
        for prompt, result in zip(PROMPTS, llm.next_token(PROMPTS, tokens), strict=True):
            (head,) = llm._encoder.render([prompt])
            expected = plain_logprobs(llm, head)[-1, wanted].tolist()
            assert list(result.logprobs.values()) == pytest.approx(expected, abs=2e-3)

    def test_greedy_replies(self, llm: TransformersLLM) -> None:
        prompts = PROMPTS[:3]
        for prompt, reply in zip(
            prompts, llm.generate(prompts, Sampling(max_tokens=10)), strict=True
        ):
            ids = torch.tensor(llm._encoder.render([prompt]))
            output = llm._model._model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False
            )[0, ids.shape[1] :].tolist()
            text = llm._model.tokenizer.decode(output, skip_special_tokens=True)
            assert reply.text == text
            assert reply.output_tokens == len(output)
            ended = output[-1] in llm._model.end_tokens
            assert reply.finish == ("stop" if ended else "length")

    def test_choices(self, llm_of_tiny: TransformersLLM) -> None:
        """The path through the choices that is best at every step, by plain forward passes."""
        llm = llm_of_tiny
        choices = ("Paris", "Paris, France", "Pa", "The tower", "Theo", "no")
        spelled = dict(zip(choices, llm._encoder.encode(choices), strict=True))
        (end,) = llm._model.end_tokens
        found = set()
        for n in range(12):
            prompt = Prompt(f"Which one of {n}?")
            (ids,) = llm._encoder.render([prompt])
            written: list[int] = []
            while end not in written:
                logprobs = plain_logprobs(llm, ids + written)[-1]
                sequences = [[*tokens, end] for tokens in spelled.values()]
                following = {
                    tokens[len(written)]
                    for tokens in sequences
                    if tokens[: len(written)] == written
                }
                written.append(max(following, key=lambda token: float(logprobs[token])))
            expected = next(text for text, tokens in spelled.items() if tokens == written[:-1])
            (reply,) = llm.generate([prompt], Sampling(choices=choices))
            assert reply.text == expected
            assert reply.output_tokens == len(spelled[expected])
            found.add(expected)
        assert len(found) > 1


class TestBatches:
    def test_any_batches_give_the_same_replies(self, tiny: Path, llm_of_tiny: Any) -> None:
        sampling = Sampling(max_tokens=12)
        small = TransformersLLM(tiny, dtype="float32", batch_tokens=100)
        assert written(small.generate(PROMPTS, sampling)) == written(
            llm_of_tiny.generate(PROMPTS, sampling)
        )
        tails = ["A"] * len(PROMPTS)
        for mine, other in zip(
            small.score(PROMPTS, tails), llm_of_tiny.score(PROMPTS, tails), strict=True
        ):
            assert mine.logprob == pytest.approx(other.logprob, abs=1e-4)

    def test_seeded_replies_do_not_depend_on_the_batch(self, llm_of_tiny: TransformersLLM) -> None:
        sampling = Sampling(max_tokens=12, temperature=1.0, top_p=0.95, seed=3)
        singles = written(llm_of_tiny.generate([prompt], sampling)[0] for prompt in PROMPTS)
        assert written(llm_of_tiny.generate(PROMPTS, sampling)) == singles
        other = Sampling(max_tokens=12, temperature=1.0, top_p=0.95, seed=4)
        assert written(llm_of_tiny.generate(PROMPTS, other)) != singles

    def test_without_a_seed_replies_differ(self, llm_of_tiny: TransformersLLM) -> None:
        sampling = Sampling(max_tokens=20, temperature=1.0)
        assert len({reply.text for reply in llm_of_tiny.generate(PROMPTS[:1] * 4, sampling)}) > 1

    def test_finished_rows_leave_the_batch(self, llm_of_tiny: TransformersLLM) -> None:
        whole = llm_of_tiny.generate(PROMPTS, Sampling(max_tokens=12))
        # Ends the first reply after a few characters and others later or never.
        stop = whole[0].text[2:4]
        with projected(llm_of_tiny) as shapes:
            replies = llm_of_tiny.generate(PROMPTS, Sampling(max_tokens=12, stop=(stop,)))
        for reply, before in zip(replies, whole, strict=True):
            assert reply.text == before.text.split(stop)[0]
        rows = [row for row, _ in shapes]
        assert rows[0] == len(PROMPTS) > rows[-1]
        assert sum(rows) == sum(reply.output_tokens for reply in replies)

    def test_logits_are_computed_where_they_are_needed(self, llm_of_tiny: Any) -> None:
        with projected(llm_of_tiny) as shapes:
            llm_of_tiny.generate(PROMPTS[:2], Sampling(max_tokens=1))
            llm_of_tiny.next_token(PROMPTS[:2], ["A"])
            llm_of_tiny.score(PROMPTS[:2], ["AA", "A"])
        assert shapes == [(2, 1), (2, 1), (2, 2)]

    def test_one_choice_needs_no_model(self, llm_of_tiny: TransformersLLM) -> None:
        with projected(llm_of_tiny) as shapes:
            (reply,) = llm_of_tiny.generate(PROMPTS[:1], Sampling(choices=("yes",)))
        assert (reply.text, shapes) == ("yes", [])

    def test_running_out_of_memory_loses_no_other_reply(
        self, tiny: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        llm = TransformersLLM(tiny, dtype="float32", batch_tokens=1, prefix_bytes=0)
        expected = llm.generate(PROMPTS, Sampling(max_tokens=2))
        longest = max(llm.count_tokens(PROMPTS))
        read = llm._model.read

        def limited(rows: Any, state: Any, positions: int = 1) -> Any:
            if len(rows[0]) == longest:
                raise torch.OutOfMemoryError("no memory")
            return read(rows, state, positions)

        monkeypatch.setattr(llm._model, "read", limited)
        with pytest.raises(BatchError) as caught:
            llm.generate(PROMPTS, Sampling(max_tokens=2))
        results = list(caught.value.results)
        assert isinstance(results[1], ModelError)
        assert "batch_tokens" in str(results[1])
        assert written(results[:1] + results[2:]) == written(expected[:1] + expected[2:])


class TestWindow:
    def test_overflow_names_both_numbers(self, tiny: Path) -> None:
        llm = TransformersLLM(tiny, context_window=40)
        assert llm.context_window == 40
        (read,) = llm.count_tokens(PROMPTS[:1])
        with projected(llm) as shapes:
            with pytest.raises(ContextOverflow, match=f"{read + 39} tokens .* window of 40"):
                llm.generate(PROMPTS[:1], Sampling(max_tokens=39))
            with pytest.raises(ContextOverflow):
                llm.score(PROMPTS[:1], ["A" * 40])
            with pytest.raises(ContextOverflow):
                llm.next_token([Prompt("A" * 40)], ["A"])
            with pytest.raises(ContextOverflow):
                llm.stream(PROMPTS[0], Sampling(max_tokens=39))
        assert shapes == []

    def test_a_prompt_that_fills_the_window(self, llm_of_tiny: TransformersLLM) -> None:
        (read,) = llm_of_tiny.count_tokens([Prompt("A" * 400)])
        sampling = Sampling(max_tokens=512 - read)
        (reply,) = llm_of_tiny.generate([Prompt("A" * 400)], sampling)
        assert reply.input_tokens + reply.output_tokens <= 512


def test_closing_a_stream_ends_the_generation(llm_of_tiny: TransformersLLM) -> None:
    with projected(llm_of_tiny) as shapes:
        stream = llm_of_tiny.stream(PROMPTS[0], Sampling(max_tokens=50))
        next(stream)
        # Others can use the model while a stream is being read.
        llm_of_tiny.generate(PROMPTS[:1], Sampling(max_tokens=1))
        stream.close()
        passes = len(shapes)
        assert list(stream) == []
        assert len(shapes) == passes < 50


def test_choices_longer_than_max_tokens(llm_of_tiny: TransformersLLM) -> None:
    with pytest.raises(InputError, match=r"'The tower' has \d tokens, more than max_tokens=1"):
        llm_of_tiny.generate(PROMPTS, Sampling(max_tokens=1, choices=("The tower", "A")))


def test_stop_strings_do_not_cut_choices(llm_of_tiny: TransformersLLM) -> None:
    sampling = Sampling(choices=("Paris, France",), stop=(",",))
    assert llm_of_tiny.generate(PROMPTS[:1], sampling)[0].text == "Paris, France"


def test_next_token_names_what_is_not_one_token(smollm2: TransformersLLM) -> None:
    with pytest.raises(InputError, match="'metallurgy' is 3 tokens of SmolLM2"):
        smollm2.next_token(PROMPTS, ["A", "metallurgy"])


def test_answers_from_a_context(smollm2: TransformersLLM) -> None:
    prompts = [
        Prompt("What is the capital of France?"),
        Prompt(
            "How tall is the tower?",
            system="Answer from the text.",
            contexts=("The tower is 330 metres tall.",),
            reply_prefix="The tower is",
        ),
    ]
    ended, cut = smollm2.generate(prompts, Sampling(max_tokens=8))
    assert (ended.text, ended.finish) == ("The capital of France is Paris.", "stop")
    assert (cut.text[:4], cut.finish) == (" 330", "length")


def test_a_model_without_a_template_completes_text(make_model: MakeModel) -> None:
    llm = TransformersLLM(make_model(template=None), dtype="float32")
    empty, reply = llm.generate([Prompt(""), Prompt("The capital")], Sampling(max_tokens=3))
    assert isinstance(empty, Reply)
    assert empty.input_tokens == 1
    assert reply.input_tokens == len(llm._encoder.encode(["The capital"])[0])


class TestLoading:
    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound, match="does not exist"):
            TransformersLLM(tmp_path / "nothing")

    def test_no_model_there(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="cannot be loaded"):
            TransformersLLM(tmp_path)

    @pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
    def test_a_file_cut_short(self, tiny: Path, tmp_path: Path, name: str) -> None:
        for file in tiny.iterdir():
            data = file.read_bytes()
            (tmp_path / file.name).write_bytes(data[:-50] if file.name == name else data)
        with pytest.raises(ModelError, match="cannot be loaded"):
            TransformersLLM(tmp_path)

    def test_pickled_weights_are_refused(self, tiny: Path, tmp_path: Path) -> None:
        for file in tiny.iterdir():
            if file.suffix != ".safetensors":
                (tmp_path / file.name).write_bytes(file.read_bytes())
        model = AutoModelForCausalLM.from_pretrained(tiny)
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
        with pytest.raises(ModelError, match="safetensors"):
            TransformersLLM(tmp_path)

    def test_unknown_dtype(self, tiny: Path) -> None:
        with pytest.raises(InputError, match="dtype 'int8' is not one of auto, float32"):
            TransformersLLM(tiny, dtype="int8")

    def test_name_and_window(self, tiny: Path) -> None:
        llm = TransformersLLM(tiny, name="mine")
        assert (llm.name, llm.context_window, llm.prices) == ("mine", 512, None)
        assert TransformersLLM(tiny).name == tiny.name

    def test_a_dot_in_a_folder_name_is_part_of_the_model_name(
        self, tiny: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "tiny-0.5B").symlink_to(tiny)
        assert TransformersLLM(tmp_path / "tiny-0.5B").name == "tiny-0.5B"

    def test_bfloat16(self, tiny: Path) -> None:
        llm = TransformersLLM(tiny, dtype="bfloat16")
        replies = llm.generate(PROMPTS, Sampling(max_tokens=4, temperature=0.7, seed=1))
        assert all(reply.output_tokens for reply in replies)


def test_scores_that_a_model_caps_are_capped(make_model: MakeModel) -> None:
    folder = make_model()
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=500,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        layer_types=["full_attention"] * 2,
        attn_logit_softcapping=0.5,
        initializer_range=0.5,
        eos_token_id=2,
        pad_token_id=None,
    )
    Gemma2ForCausalLM(config).save_pretrained(folder)
    llm = TransformersLLM(folder, dtype="float32")
    prompt = Prompt("What does the tower weigh?")
    (score,) = llm.score([prompt], ["It is 330 metres tall."])
    read = llm._encoder.render([prompt])[0] + llm._encoder.encode(["It is 330 metres tall."])[0]
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    with torch.inference_mode():
        logprobs = model(torch.tensor([read])).logits[0].log_softmax(-1)
    count = len(score.token_logprobs)
    expected = [float(logprobs[place - 1, read[place]]) for place in range(-count, 0)]
    assert score.token_logprobs == pytest.approx(expected, abs=1e-3)
