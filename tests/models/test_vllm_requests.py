import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.errors import ModelError
from rag.core.generation import Sampling
from rag.models.vllm_requests import (
    continuation_score,
    next_token_scores,
    reading_options,
    reply,
    sampling_options,
)

TEXTS = ["The", " cat", " sat", "<end>", "A"]


@dataclass
class Logprob:
    """As `vllm.logprobs` has it."""

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    """What is read of the one in `vllm.outputs`."""

    text: str
    token_ids: list[int]
    index: int = 0
    finish_reason: str | None = "stop"
    logprobs: list[dict[int, Logprob]] | None = None


@dataclass
class RequestOutput:
    """What is read of the one in `vllm.outputs`."""

    outputs: list[CompletionOutput]
    prompt_token_ids: list[int] = field(default_factory=lambda: [7, 8, 9])
    num_cached_tokens: int | None = 2
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None


def text_of(token: int) -> str:
    return TEXTS[token]


class TestSamplingOptions:
    def test_every_field_by_its_name(self) -> None:
        sampling = Sampling(
            max_tokens=9, temperature=0.5, top_p=0.9, stop=("a", "b"), seed=3, n=2, logprobs=4
        )
        assert sampling_options(sampling) == {
            "max_tokens": 9,
            "temperature": 0.5,
            "top_p": 0.9,
            "stop": ["a", "b"],
            "seed": 3,
            "n": 2,
            "logprobs": 4,
        }

    def test_choices_have_room_for_any_spelling_and_no_stops(self) -> None:
        options = sampling_options(
            Sampling(max_tokens=3, choices=("no", "🙂🙂", "no"), stop=("o",))
        )
        assert options["structure"] == {"choice": ["no", "🙂🙂"]}
        assert (options["max_tokens"], options["stop"]) == (9, [])
        roomy = sampling_options(Sampling(max_tokens=50, choices=("",)))
        assert roomy["max_tokens"] == 50

    def test_a_schema_stays_text(self) -> None:
        options = sampling_options(Sampling(json_schema={"type": "object"}))
        assert json.loads(options["structure"]["json"]) == {"type": "object"}

    @given(st.lists(st.text(min_size=1), min_size=1, max_size=3), st.text())
    def test_beginnings_are_taken_literally(self, starts: list[str], rest: str) -> None:
        options = sampling_options(Sampling(starts_with=tuple(starts)))
        pattern = re.compile(options["structure"]["regex"])
        assert all(pattern.fullmatch(start + rest) for start in starts)
        assert bool(pattern.fullmatch(rest)) == rest.startswith(tuple(starts))

    def test_reading_writes_one_token(self) -> None:
        options = reading_options(prompt_logprobs=0)
        assert (options["max_tokens"], options["prompt_logprobs"]) == (1, 0)


class TestReply:
    def test_counts_and_samples(self) -> None:
        samples = [
            CompletionOutput("The cat", [0, 1, 3]),
            CompletionOutput("The", [0], 1, "length"),
        ]
        read = reply(RequestOutput(samples), samples, None, text_of)
        assert (read.text, read.finish, read.logprobs) == ("The cat", "stop", ())
        assert (read.input_tokens, read.cached_tokens, read.output_tokens) == (3, 2, 3)
        (other,) = read.others
        assert (other.text, other.finish, other.output_tokens) == ("The", "length", 1)
        assert (other.input_tokens, read.usage.output_tokens) == (0, 4)

    @pytest.mark.parametrize(("top", "expected"), [(0, []), (1, [" sat"]), (2, [" sat", "A"])])
    def test_an_unlikely_token_is_not_among_the_likeliest(
        self, top: int, expected: list[str]
    ) -> None:
        # vLLM puts the written token first, wherever it ranks.
        likeliest = {2: Logprob(-0.5, 1), 4: Logprob(-2.0, 2)}
        seen = {1: Logprob(-7.0, 40), **dict(list(likeliest.items())[:top])}
        sample = CompletionOutput(" cat", [1], logprobs=[seen])
        (token,) = reply(RequestOutput([sample]), [sample], top, text_of).logprobs
        assert (token.token, token.logprob, list(token.top)) == (" cat", -7.0, expected)

    @pytest.mark.parametrize("reason", ["abort", "error", None])
    def test_what_vllm_gave_up_on(self, reason: str | None) -> None:
        sample = CompletionOutput("", [], finish_reason=reason)
        with pytest.raises(ModelError, match=f"ended a request with '{reason}'"):
            reply(RequestOutput([sample]), [sample], None, text_of)

    def test_nothing_cached_may_be_none(self) -> None:
        sample = CompletionOutput("", [])
        answer = RequestOutput([sample], num_cached_tokens=None)
        assert reply(answer, [sample], None, text_of).cached_tokens == 0


class TestScores:
    prompt_logprobs: tuple[Any, ...] = (
        None,
        {8: Logprob(-1.0), 5: Logprob(-0.1)},
        {9: Logprob(-2.0)},
    )

    @pytest.mark.parametrize(("tokens", "expected"), [(0, ()), (1, (-2.0,)), (2, (-1.0, -2.0))])
    def test_the_last_tokens_are_scored(self, tokens: int, expected: tuple[float, ...]) -> None:
        answer = RequestOutput([], num_cached_tokens=0, prompt_logprobs=list(self.prompt_logprobs))
        score = continuation_score(answer, tokens)
        assert (score.token_logprobs, score.input_tokens) == (expected, 3)

    def test_tokens_that_are_not_shown(self) -> None:
        seen = {0: Logprob(-0.2), 4: Logprob(-3.0), 2: Logprob(-4.5)}
        answer = RequestOutput([CompletionOutput("", [0], logprobs=[seen])])
        scores = next_token_scores(answer, {"The": 0, " cat": 1, "A": 4})
        assert scores.logprobs == {"The": -0.2, "A": -3.0}
        assert (scores.missing, scores.missing_at_most) == ((" cat",), -4.5)
        assert (scores.input_tokens, scores.cached_tokens) == (3, 2)

    def test_tokens_that_are_all_shown(self) -> None:
        seen = {0: Logprob(-0.2), 4: Logprob(-math.inf)}
        answer = RequestOutput([CompletionOutput("", [0], logprobs=[seen])])
        scores = next_token_scores(answer, {"A": 4})
        assert (scores.logprobs, scores.missing) == ({"A": -math.inf}, ())
