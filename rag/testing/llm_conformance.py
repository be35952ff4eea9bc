"""What every language model backend has to do, as tests to inherit."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from rag.core.errors import BatchError, ContextOverflow, InputError, Unsupported
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.protocols import LLM, Capability

PROMPTS = (
    Prompt("Name the capital of France.", system="Answer in one sentence."),
    Prompt(
        "What does the tower weigh?",
        contexts=("The tower is 330 metres tall. It weighs 10,100 tonnes.", "Paris is old."),
    ),
    Prompt("Übersetze: naïve café 東京 🙂 e\u0301 \u200bनमस्ते", reply_prefix="Answer:"),
)
BRIEF = Sampling(max_tokens=6)


class LLMConformance:
    """Tests that a backend passes when it keeps the contract of `rag.core.protocols.LLM`.

    Inherit it in a test module and say how to get the backend::

        class TestMyBackend(LLMConformance):
            def make_llm(self) -> LLM:
                return MyBackend()

    Tests of what the backend does not list among its capabilities are skipped, except that
    asking for it has to raise `Unsupported`. Greedy replies must not depend on their batch: run
    local models in float32.
    """

    single_tokens: tuple[str, str] = ("A", "B")
    """Two texts that are one token each."""

    def make_llm(self) -> LLM:
        """Return the backend; called once a test, it may return the same one."""
        raise NotImplementedError

    @pytest.fixture
    def llm(self) -> LLM:
        """The backend under test."""
        return self.make_llm()

    def need(self, llm: LLM, *capabilities: Capability) -> None:
        """Skip the test where the backend lacks a capability."""
        for capability in capabilities:
            if capability not in llm.capabilities:
                pytest.skip(f"{llm.name} lacks {capability}")

    def test_is_an_llm(self, llm: LLM) -> None:
        """It has the protocol's members."""
        assert isinstance(llm, LLM)
        assert llm.name
        assert llm.context_window > 0

    def test_empty_batches_give_empty_lists(self, llm: LLM) -> None:
        """No prompts, no results, no error."""
        assert llm.count_tokens([]) == []
        assert llm.generate([], BRIEF) == []
        if "score" in llm.capabilities:
            assert llm.score([], []) == []
        if "next_token" in llm.capabilities:
            assert llm.next_token([], self.single_tokens) == []

    def test_counted_tokens_are_the_tokens_read(self, llm: LLM) -> None:
        """`count_tokens` says what `generate` reports, for any script and shape of prompt."""
        counts = llm.count_tokens(PROMPTS)
        assert all(count > 0 for count in counts)
        assert [reply.input_tokens for reply in llm.generate(PROMPTS, BRIEF)] == counts

    def test_every_part_of_a_prompt_is_read(self, llm: LLM) -> None:
        """System text, contexts, question and reply prefix all reach the model."""
        (bare,) = llm.count_tokens([Prompt("one two")])
        longer = [
            Prompt("one two", system="three four"),
            Prompt("one two", contexts=("three four",)),
            Prompt("one two three four"),
            Prompt("one two", reply_prefix="three four"),
        ]
        assert all(count > bare for count in llm.count_tokens(longer))

    def test_a_batch_gives_what_single_prompts_give(self, llm: LLM) -> None:
        """Greedy replies keep their order and do not depend on their neighbours."""
        singles = [llm.generate([prompt], BRIEF)[0] for prompt in PROMPTS]
        assert llm.generate(PROMPTS, BRIEF) == singles
        assert llm.generate(PROMPTS[::-1], BRIEF) == singles[::-1]

    def test_max_tokens(self, llm: LLM) -> None:
        """No reply is longer, and `finish` says whether it was cut."""
        for reply in llm.generate(PROMPTS, Sampling(max_tokens=2)):
            assert reply.output_tokens <= 2
            assert reply.finish == "stop" or reply.output_tokens == 2
        assert "length" in {reply.finish for reply in llm.generate(PROMPTS, Sampling(max_tokens=1))}

    def test_stop_strings(self, llm: LLM) -> None:
        """A reply ends before the first stop string, wherever tokens begin and end."""
        (whole,) = llm.generate(PROMPTS[:1], BRIEF)
        assert len(whole.text) > 6
        for stop in (whole.text[2:5], whole.text[4:7]):
            sampling = Sampling(max_tokens=6, stop=("not in the reply", stop))
            (reply,) = llm.generate(PROMPTS[:1], sampling)
            assert reply.text == whole.text[: whole.text.index(stop)]
            assert reply.finish == "stop"

    def test_choices(self, llm: LLM) -> None:
        """A reply is exactly one of the choices, also where one begins another."""
        self.need(llm, "choices")
        for choices in (
            ("yes",),
            ("no", "no way", "not"),
            ("Paris, France", "Paris"),
            ("", "é 🙂"),
        ):
            for reply in llm.generate(PROMPTS, Sampling(max_tokens=20, choices=choices)):
                assert reply.text in choices
                assert reply.finish == "stop"

    def test_seeds_repeat(self, llm: LLM) -> None:
        """The same seed gives the same reply."""
        self.need(llm, "seed")
        sampling = Sampling(max_tokens=6, temperature=1.0, top_p=0.9, seed=7)
        assert llm.generate(PROMPTS, sampling) == llm.generate(PROMPTS, sampling)

    def test_stream_gives_what_generate_gives(self, llm: LLM) -> None:
        """Pieces add up to the text; the reply comes last."""
        self.need(llm, "stream")
        for prompt in PROMPTS:
            *pieces, last = llm.stream(prompt, BRIEF)
            (reply,) = llm.generate([prompt], BRIEF)
            assert last == reply
            assert "".join(str(piece) for piece in pieces) == reply.text
            assert all(isinstance(piece, str) and piece for piece in pieces)

    def test_stream_holds_stop_strings_back(self, llm: LLM) -> None:
        """No piece holds a part of a stop string."""
        self.need(llm, "stream")
        (whole,) = llm.generate(PROMPTS[:1], BRIEF)
        stop = whole.text[3:7]
        *pieces, last = llm.stream(PROMPTS[0], Sampling(max_tokens=6, stop=(stop,)))
        assert isinstance(last, Reply)
        assert "".join(str(piece) for piece in pieces) == last.text
        assert last.text == whole.text[: whole.text.index(stop)]

    def test_a_stream_can_be_left(self, llm: LLM) -> None:
        """Leaving a stream early leaves the backend usable."""
        self.need(llm, "stream")
        left = llm.stream(PROMPTS[0], BRIEF)
        next(left)
        del left
        assert llm.generate(PROMPTS[:1], BRIEF)

    def test_scores(self, llm: LLM) -> None:
        """Scores are log-probabilities of what was asked, independent of the batch."""
        self.need(llm, "score")
        texts = ["Paris", "It weighs 10,100 tonnes.", "東京 🙂"]
        scores = llm.score(PROMPTS, texts)
        for score, prompt, text in zip(scores, PROMPTS, texts, strict=True):
            assert score.token_logprobs
            assert all(-math.inf < logprob <= 0 for logprob in score.token_logprobs)
            read = llm.count_tokens([prompt])[0] + len(score.token_logprobs)
            assert score.input_tokens == read
            (single,) = llm.score([prompt], [text])
            assert single.token_logprobs == pytest.approx(score.token_logprobs, abs=1e-3)
        with pytest.raises(InputError):
            llm.score(PROMPTS, texts[:1])

    def test_next_tokens(self, llm: LLM) -> None:
        """Probabilities are over the whole vocabulary and agree with `score`."""
        self.need(llm, "next_token")
        counts = llm.count_tokens(PROMPTS)
        results = llm.next_token(PROMPTS, self.single_tokens)
        for result, count in zip(results, counts, strict=True):
            assert list(result.logprobs) == list(self.single_tokens)
            assert sum(map(math.exp, result.logprobs.values())) <= 1
            assert result.input_tokens == count
        with pytest.raises(InputError, match="several words"):
            llm.next_token(PROMPTS, ["several words here"])
        self.need(llm, "score")
        for token in self.single_tokens:
            scores = llm.score(PROMPTS, [token] * len(PROMPTS))
            for score, result in zip(scores, results, strict=True):
                assert score.token_logprobs == pytest.approx([result.logprobs[token]], abs=1e-3)

    def test_what_does_not_fit_is_refused(self, llm: LLM) -> None:
        """One prompt too long is an overflow; among several the others are answered."""
        room = Sampling(max_tokens=llm.context_window)
        with pytest.raises(ContextOverflow) as caught:
            llm.generate(PROMPTS[:1], room)
        needed = llm.count_tokens(PROMPTS[:1])[0] + llm.context_window
        assert (caught.value.tokens, caught.value.limit) == (needed, llm.context_window)
        if "stream" in llm.capabilities:
            with pytest.raises(ContextOverflow):
                list(llm.stream(PROMPTS[0], room))
        too_long = Prompt("word " * (llm.context_window + 1))
        with pytest.raises(BatchError) as failed:
            llm.generate([too_long, PROMPTS[0]], BRIEF)
        overflow, reply = failed.value.results
        assert isinstance(overflow, ContextOverflow)
        assert [reply] == llm.generate(PROMPTS[:1], BRIEF)

    def test_missing_capabilities_are_refused(self, llm: LLM) -> None:
        """Asking for what the backend does not list raises `Unsupported`, naming it."""
        calls: dict[Capability, Callable[[], object]] = {
            "stream": lambda: list(llm.stream(PROMPTS[0], BRIEF)),
            "score": lambda: llm.score(PROMPTS[:1], ["A"]),
            "next_token": lambda: llm.next_token(PROMPTS[:1], ["A"]),
            "choices": lambda: llm.generate(PROMPTS[:1], Sampling(choices=("A", "B"))),
            "seed": lambda: llm.generate(PROMPTS[:1], Sampling(temperature=1, seed=1)),
        }
        for capability, call in calls.items():
            if capability not in llm.capabilities:
                with pytest.raises(Unsupported) as caught:
                    call()
                assert caught.value.capability == capability
