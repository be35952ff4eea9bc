"""What every language model backend has to do, as tests to inherit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from rag.core.capabilities import Capability
from rag.core.errors import BatchError, ContextOverflow, InputError, Unsupported
from rag.core.generation import Prompt, Reply, Sampling
from rag.core.protocols import LLM

PROMPTS = (
    Prompt("Name the capital of France.", system="Answer in one sentence."),
    Prompt(
        "What does the tower weigh?",
        contexts=("The tower is 330 metres tall. It weighs 10,100 tonnes.", "Paris is old."),
    ),
    Prompt("Übersetze: naïve café 東京 🙂 e\u0301 \u200bनमस्ते", reply_prefix="Answer:"),
)
BRIEF = Sampling(max_tokens=6)

_SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "sure": {"type": "boolean"}},
    "required": ["city", "sure"],
    "additionalProperties": False,
}


def written(replies: Iterable[Reply]) -> list[tuple[str, int, str]]:
    """Return what was written, without what depends on caches."""
    return [(reply.text, reply.output_tokens, reply.finish) for reply in replies]


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

    @pytest.fixture
    def prompts(self, llm: LLM) -> tuple[Prompt, ...]:
        """Prompts of all shapes that the backend takes."""
        if "reply_prefix" in llm.capabilities:
            return PROMPTS
        return tuple(replace(prompt, reply_prefix="") for prompt in PROMPTS)

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

    def test_counted_tokens_are_the_tokens_read(
        self, llm: LLM, prompts: tuple[Prompt, ...]
    ) -> None:
        """`count_tokens` says what `generate` reports, for any script and shape of prompt."""
        self.need(llm, "exact_counts")
        counts = llm.count_tokens(prompts)
        assert all(count > 0 for count in counts)
        assert [reply.input_tokens for reply in llm.generate(prompts, BRIEF)] == counts

    def test_every_part_of_a_prompt_is_read(self, llm: LLM) -> None:
        """System text, contexts, question and reply prefix all reach the model."""
        (bare,) = llm.count_tokens([Prompt("one two")])
        longer = [
            Prompt("one two", system="three four"),
            Prompt("one two", contexts=("three four",)),
            Prompt("one two three four"),
        ]
        if "reply_prefix" in llm.capabilities:
            longer.append(Prompt("one two", reply_prefix="three four"))
        assert all(count > bare for count in llm.count_tokens(longer))

    def test_a_batch_gives_what_single_prompts_give(
        self, llm: LLM, prompts: tuple[Prompt, ...]
    ) -> None:
        """Greedy replies keep their order and do not depend on their neighbours."""
        singles = written(llm.generate([prompt], BRIEF)[0] for prompt in prompts)
        assert written(llm.generate(prompts, BRIEF)) == singles
        assert written(llm.generate(prompts[::-1], BRIEF)) == singles[::-1]

    def test_threads_get_their_own_replies(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """Calls of several threads at once get what they get alone."""
        expected = written(llm.generate(prompts, BRIEF))
        with ThreadPoolExecutor(len(prompts)) as pool:
            replies = list(pool.map(lambda each: llm.generate([each], BRIEF)[0], prompts))
        assert written(replies) == expected

    def test_usage_adds_up(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """A reply says what was read, what of it was kept from before, and what was written."""
        for reply in llm.generate(prompts, BRIEF):
            assert 0 <= reply.cached_tokens <= reply.input_tokens > 0
            assert 0 < reply.output_tokens <= BRIEF.max_tokens
            assert reply.usage.calls == 1
            assert reply.usage.output_tokens == reply.output_tokens

    def test_max_tokens(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """No reply is longer, and `finish` says whether it was cut."""
        for reply in llm.generate(prompts, Sampling(max_tokens=2)):
            assert reply.output_tokens <= 2
            assert reply.finish == "stop" or reply.output_tokens == 2
        assert "length" in {reply.finish for reply in llm.generate(prompts, Sampling(max_tokens=1))}

    def test_stop_strings(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """A reply ends before the first stop string, wherever tokens begin and end."""
        (whole,) = llm.generate(prompts[:1], BRIEF)
        assert len(whole.text) > 6
        for stop in (whole.text[2:5], whole.text[4:7]):
            sampling = Sampling(max_tokens=6, stop=("not in the reply", stop))
            (reply,) = llm.generate(prompts[:1], sampling)
            assert reply.text == whole.text[: whole.text.index(stop)]
            assert reply.finish == "stop"

    def test_choices(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """A reply is exactly one of the choices, also where one begins another."""
        self.need(llm, "choices")
        for choices in (
            ("yes",),
            ("no", "no way", "not"),
            ("Paris, France", "Paris"),
            ("", "é 🙂"),
        ):
            for reply in llm.generate(prompts, Sampling(max_tokens=20, choices=choices)):
                assert reply.text in choices
                assert reply.finish == "stop"

    def test_seeds_repeat(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """The same seed gives the same reply."""
        self.need(llm, "seed")
        sampling = Sampling(max_tokens=6, temperature=1.0, top_p=0.9, seed=7)
        assert written(llm.generate(prompts, sampling)) == written(llm.generate(prompts, sampling))

    def test_starts_with(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """A reply begins as it has to, also where one beginning begins another."""
        self.need(llm, "starts_with")
        for starts in (("Follow up:", "So the final answer is:"), ("So", "So far", "é")):
            sampling = Sampling(max_tokens=16, starts_with=starts)
            for reply in llm.generate(prompts, sampling):
                assert reply.text.startswith(starts)
        (start,) = llm.generate(prompts[:1], Sampling(max_tokens=16, starts_with=("In brief:",)))
        assert len(start.text) > len("In brief:")

    def test_json_schema(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """A reply that ends by itself is JSON of the schema."""
        self.need(llm, "json_schema")
        replies = llm.generate(prompts, Sampling(max_tokens=60, json_schema=_SCHEMA))
        assert any(reply.finish == "stop" for reply in replies)
        for reply in replies:
            if reply.finish == "stop":
                value = json.loads(reply.text)
                assert set(value) == {"city", "sure"}
                assert value["city"] in ("Paris", "Rome")
                assert isinstance(value["sure"], bool)

    def test_logprobs(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """Each token written comes with its log-probability and those of the likeliest ones."""
        self.need(llm, "logprobs")
        (reply,) = llm.generate(prompts[:1], Sampling(max_tokens=6, logprobs=2))
        assert "".join(each.token for each in reply.logprobs).startswith(reply.text)
        assert 0 < len(reply.logprobs) <= reply.output_tokens
        for each in reply.logprobs:
            assert each.logprob <= 0
            assert 0 < len(each.top) <= 2
            assert each.logprob == pytest.approx(max(each.top.values()), abs=1e-3)
            assert list(each.top.values()) == sorted(each.top.values(), reverse=True)
        (plain,) = llm.generate(prompts[:1], BRIEF)
        assert plain.logprobs == ()
        (bare,) = llm.generate(prompts[:1], Sampling(max_tokens=6, logprobs=0))
        assert [each.top for each in bare.logprobs] == [{}] * len(reply.logprobs)

    def test_samples(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """A prompt gets as many replies as asked for; its tokens are counted once."""
        sampling = Sampling(max_tokens=6, temperature=1.0, n=3)
        for reply, single in zip(
            llm.generate(prompts, sampling), llm.generate(prompts, BRIEF), strict=True
        ):
            assert len(reply.samples) == 3
            assert all(0 < each.output_tokens <= 6 for each in reply.samples)
            assert reply.usage.input_tokens == single.input_tokens
            assert reply.usage.output_tokens == sum(each.output_tokens for each in reply.samples)

    def test_seeded_samples(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """With a seed, all samples of a prompt repeat."""
        self.need(llm, "seed")
        sampling = Sampling(max_tokens=6, temperature=1.0, seed=5, n=2)
        (first,), (again,) = (llm.generate(prompts[:1], sampling) for _ in range(2))
        assert written(first.samples) == written(again.samples)

    def test_stream_gives_what_generate_gives(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """Pieces add up to the text; the reply comes last."""
        self.need(llm, "stream")
        for prompt in prompts:
            *pieces, last = llm.stream(prompt, BRIEF)
            (reply,) = llm.generate([prompt], BRIEF)
            assert isinstance(last, Reply)
            assert written([last]) == written([reply])
            assert last.input_tokens == reply.input_tokens
            assert "".join(str(piece) for piece in pieces) == reply.text
            assert all(isinstance(piece, str) and piece for piece in pieces)

    def test_stream_holds_stop_strings_back(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """No piece holds a part of a stop string."""
        self.need(llm, "stream")
        (whole,) = llm.generate(prompts[:1], BRIEF)
        stop = whole.text[3:7]
        *pieces, last = llm.stream(prompts[0], Sampling(max_tokens=6, stop=(stop,)))
        assert isinstance(last, Reply)
        assert "".join(str(piece) for piece in pieces) == last.text
        assert last.text == whole.text[: whole.text.index(stop)]

    def test_a_stream_can_be_left(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """Leaving a stream early leaves the backend usable."""
        self.need(llm, "stream")
        left = llm.stream(prompts[0], BRIEF)
        next(left)
        del left
        assert llm.generate(prompts[:1], BRIEF)

    def test_scores(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """Scores are log-probabilities of what was asked, independent of the batch."""
        self.need(llm, "score")
        texts = ["Paris", "It weighs 10,100 tonnes.", "東京 🙂"]
        scores = llm.score(prompts, texts)
        for score, prompt, text in zip(scores, prompts, texts, strict=True):
            assert score.token_logprobs
            assert all(-math.inf < logprob <= 0 for logprob in score.token_logprobs)
            read = llm.count_tokens([prompt])[0] + len(score.token_logprobs)
            assert score.input_tokens == read
            (single,) = llm.score([prompt], [text])
            assert single.token_logprobs == pytest.approx(score.token_logprobs, abs=1e-3)
        with pytest.raises(InputError):
            llm.score(prompts, texts[:1])

    def test_next_tokens(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """Probabilities are over the whole vocabulary and agree with `score`."""
        self.need(llm, "next_token")
        counts = llm.count_tokens(prompts)
        results = llm.next_token(prompts, self.single_tokens)
        for result, count in zip(results, counts, strict=True):
            assert {*result.logprobs, *result.missing} == {*self.single_tokens}
            assert sum(map(math.exp, result.logprobs.values())) <= 1
            assert "exact_counts" not in llm.capabilities or result.input_tokens == count
        with pytest.raises(InputError, match="several words"):
            llm.next_token(prompts, ["several words here"])
        self.need(llm, "score")
        for token in self.single_tokens:
            scores = llm.score(prompts, [token] * len(prompts))
            for score, result in zip(scores, results, strict=True):
                if token in result.missing:
                    assert score.logprob <= result.missing_at_most + 1e-3
                    continue
                assert score.token_logprobs == pytest.approx([result.logprobs[token]], abs=1e-3)

    def test_what_does_not_fit_is_refused(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """One prompt too long is an overflow; among several the others are answered."""
        room = Sampling(max_tokens=llm.context_window)
        with pytest.raises(ContextOverflow) as caught:
            llm.generate(prompts[:1], room)
        # Contexts that share positions can exceed what one text may have.
        assert 0 < caught.value.limit <= llm.context_window
        if "exact_counts" in llm.capabilities:
            needed = llm.count_tokens(prompts[:1])[0] + llm.context_window
            assert caught.value.tokens == needed
        if "stream" in llm.capabilities:
            with pytest.raises(ContextOverflow):
                list(llm.stream(prompts[0], room))
        too_long = Prompt("word " * (llm.context_window + 1))
        with pytest.raises(BatchError) as failed:
            llm.generate([too_long, prompts[0]], BRIEF)
        overflow, reply = failed.value.results
        assert isinstance(overflow, ContextOverflow)
        assert written([reply]) == written(llm.generate(prompts[:1], BRIEF))

    def test_missing_capabilities_are_refused(self, llm: LLM, prompts: tuple[Prompt, ...]) -> None:
        """Asking for what the backend does not list raises `Unsupported`, naming it."""
        calls: dict[Capability, Callable[[], object]] = {
            "stream": lambda: list(llm.stream(prompts[0], BRIEF)),
            "score": lambda: llm.score(prompts[:1], ["A"]),
            "next_token": lambda: llm.next_token(prompts[:1], ["A"]),
            "choices": lambda: llm.generate(prompts[:1], Sampling(choices=("A", "B"))),
            "starts_with": lambda: llm.generate(prompts[:1], Sampling(starts_with=("A",))),
            "json_schema": lambda: llm.generate(prompts[:1], Sampling(json_schema=_SCHEMA)),
            "logprobs": lambda: llm.generate(prompts[:1], Sampling(logprobs=1)),
            "reply_prefix": lambda: llm.generate([PROMPTS[2]], BRIEF),
            "seed": lambda: llm.generate(prompts[:1], Sampling(temperature=1, seed=1)),
        }
        for capability, call in calls.items():
            if capability not in llm.capabilities:
                with pytest.raises(Unsupported) as caught:
                    call()
                assert caught.value.capability == capability
