"""Pure reading of answers: both shapes of log-probabilities, streams cut anywhere, stop strings."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.generation import Sampling
from rag.models.http.failures import Failure, retry_after
from rag.models.http.logprobs import Shown, scored, steps
from rag.models.http.replies import next_token_scores, reply
from rag.models.http.requests import Rendered
from rag.models.http.streams import StreamedAnswer
from rag.models.stops import GrowingText

PROMPT = Rendered({"prompt": [1]}, 1, True)

CHAT = {
    "content": [
        {
            "id": 5,
            "token": "\ufffd",
            "bytes": [0xC3],
            "logprob": -1.0,
            "top_logprobs": [
                {"id": 6, "token": "b", "bytes": [98], "logprob": -2.0},
                {"id": 5, "token": "\ufffd", "bytes": [0xC3], "logprob": -1.0},
            ],
        }
    ]
}
OLDER = {
    "tokens": ["token_id:5"],
    "token_logprobs": [-1.0],
    "top_logprobs": [{"token_id:6": -2, "token_id:5": -1.0}],
}


def test_both_shapes_of_logprobs() -> None:
    (step,) = steps(CHAT)
    assert step.written == Shown("\ufffd", 5, -1.0)
    assert [each.id for each in step.likeliest] == [5, 6]
    assert step.as_logprob(1).top == {"\ufffd": -1.0}
    (older,) = steps(OLDER)
    assert [each.id for each in (older.written, *older.likeliest)] == [5, 5, 6]
    plain = {"tokens": ["a"], "token_logprobs": [0.001], "top_logprobs": None}
    (bare,) = steps(plain)
    assert (bare.written, bare.likeliest) == (Shown("a", None, 0.0), ())
    assert steps(None) == steps({"content": []}) == []


@pytest.mark.parametrize(
    "broken",
    [
        [],
        {"content": [{}]},
        {"content": 3},
        {"content": [{"token": "a", "logprob": None, "top_logprobs": []}]},
        {"content": [{"token": "a", "logprob": float("nan"), "top_logprobs": []}]},
        {"tokens": ["a"], "token_logprobs": [-1, -2], "top_logprobs": [{}, {}]},
        {"tokens": ["a"], "token_logprobs": [True], "top_logprobs": [{}]},
    ],
)
def test_malformed_logprobs(broken: Any) -> None:
    if broken:
        with pytest.raises(Failure, match="cannot be read"):
            steps(broken)
    else:
        assert steps(broken) == []


def test_scores_are_those_of_the_last_tokens() -> None:
    places = [None, {"7": {"logprob": -1}}, {"8": {"logprob": -2.5}, "9": {"logprob": -1}}]
    assert scored(places, [8]) == (-2.5,)
    assert scored(places, [7, 8]) == (-1.0, -2.5)
    assert scored(places, []) == ()
    for broken in (None, [], [{"1": {"logprob": -1}}], [{"8": {}}]):
        with pytest.raises(Failure, match="cannot be read"):
            scored(broken, [8])


def answer(logprobs: Any) -> dict[str, Any]:
    return {"choices": [{"text": "x", "finish_reason": "length", "logprobs": logprobs}]}


def test_next_tokens_by_number_or_by_text() -> None:
    by_number = next_token_scores(answer(CHAT), PROMPT, ["b", "c"], [6, 7])
    assert (by_number.logprobs, by_number.missing) == ({"b": -2.0}, ("c",))
    assert by_number.missing_at_most == -2.0
    shown = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"a": -1, "b": -3}]}
    for ids in (None, [6, 7]):  # known here, but not shown
        by_text = next_token_scores(answer(shown), PROMPT, ["b", "c"], ids)
        assert (by_text.logprobs, by_text.missing_at_most) == ({"b": -3.0}, -3.0)
    whole = next_token_scores(answer(shown), PROMPT, ["a"], None)
    assert (whole.missing, whole.missing_at_most) == ((), 0.0)


def test_several_replies_of_one_answer() -> None:
    choices = [
        {"text": "a", "finish_reason": "stop", "token_ids": [1, 2]},
        {"text": "b", "finish_reason": "length", "token_ids": [1, 2, 3]},
    ]
    usage = {"prompt_tokens": 1, "completion_tokens": 5}
    sampling = Sampling(temperature=1.0, n=2)
    drawn = reply([{"choices": choices, "usage": usage}], PROMPT, sampling, len)
    assert [each.output_tokens for each in drawn.samples] == [2, 3]
    assert drawn.usage.estimated_tokens == 0
    with pytest.raises(Failure, match="sent 1 replies, not 2"):
        reply([{"choices": choices[:1]}], PROMPT, sampling, len)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "text",
                    "message",
                    "content",
                    "finish_reason",
                    "logprobs",
                    "usage",
                    "prompt_tokens",
                    "completion_tokens",
                    "prompt_tokens_details",
                    "cached_tokens",
                    "timings",
                    "cache_n",
                    "error",
                    "tokens",
                    "token_logprobs",
                    "top_logprobs",
                    "delta",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["choices", "usage", "timings", "error"]), JSON))
def test_any_answer_is_a_reply_or_a_failure(data: dict[str, Any]) -> None:
    with suppress(Failure):
        got = reply([data], PROMPT, Sampling(max_tokens=4, logprobs=1), len)
        assert 0 <= got.cached_tokens <= got.input_tokens == 1
        assert 0 <= got.output_tokens <= 4
    streamed = StreamedAnswer()
    with suppress(Failure):
        streamed.add(data)


@given(st.text(max_size=60))
def test_any_retry_after_is_a_number_of_seconds(value: str) -> None:
    assert retry_after(value) >= 0


async def parsed(pieces: list[bytes]) -> tuple[str, StreamedAnswer]:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body())

    whole, text = StreamedAnswer(), ""
    transport = httpx2.MockTransport(respond)
    async with (
        httpx2.AsyncClient(transport=transport) as client,
        client.stream("POST", "http://server/") as response,
    ):
        async for event in httpx2.EventSource(response):
            if event.data != "[DONE]":
                text += whole.add(json.loads(event.data))
    return text, whole


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=4),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_streams_may_be_cut_anywhere(texts: list[str], newline: str, cuts: list[int]) -> None:
    events = [{"choices": [{"delta": {"content": text}}]} for text in texts]
    events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    lines = [f"data: {json.dumps(each, ensure_ascii=False)}" for each in events]
    encoded = "".join(f"{line}{newline}: ping{newline}{newline}" for line in lines).encode()
    places = sorted({0, *(min(cut, len(encoded)) for cut in cuts), len(encoded)})
    pieces = [encoded[start:end] for start, end in pairwise(places)]
    text, whole = asyncio.run(parsed(pieces))
    assert text == whole.data["choices"][0]["text"] == "".join(texts)
    assert whole.finished


@given(
    pieces=st.lists(st.text("ab", max_size=4), max_size=8),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_no_part_of_a_stop_string_is_handed_out(pieces: list[str], stops: list[str]) -> None:
    growing, handed_out = GrowingText(stops), ""
    for piece in pieces:
        handed_out += growing.add(piece)
        if growing.stopped:
            break
    handed_out += growing.rest()
    whole = "".join(pieces)
    # A stop string ends the text with the first piece that completes one.
    firsts = [whole.find(stop) for stop in stops if stop in whole]
    assert growing.stopped == bool(firsts)
    assert handed_out == growing.text
    assert not any(stop in handed_out for stop in stops)
    if not firsts:
        assert handed_out == whole
