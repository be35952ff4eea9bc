"""What a server can do wrong, and what comes of it."""

import gc
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import pytest

from rag.core.errors import BatchError, CallFailed, ContextOverflow, ModelNotFound
from rag.core.generation import Prompt, Reply, Sampling
from rag.models.http import OpenAICompatibleLLM, transport
from tests.models.http.faulty_server import (
    DONE,
    Behaviour,
    FaultyServer,
    completion,
    echoing,
    event,
    hang,
    plain,
    raw,
    response,
    streamed,
    written,
)

QUESTION = Prompt("What is this?")
BRIEF = Sampling(max_tokens=8)

Open = Callable[..., OpenAICompatibleLLM]


@pytest.fixture
def opened(server: FaultyServer) -> Iterator[Open]:
    """A function that opens backends on the faulty server; they are closed in the end."""
    backends = []

    def make(**options: Any) -> OpenAICompatibleLLM:
        backends.append(OpenAICompatibleLLM(server.url, context_window=4096, **options))
        return backends[-1]

    yield make
    for each in backends:
        each.close()


def failure(llm: OpenAICompatibleLLM, sampling: Sampling = BRIEF) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        llm.generate([QUESTION], sampling)
    return caught.value


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


LATER = datetime.now(UTC) + timedelta(seconds=1)
PASSING: dict[str, Behaviour] = {
    "dropped before the head": raw(drop=True),
    "dropped in the head": raw(b"HTTP/1.1 200 O", drop=True),
    "dropped after the head": raw(response(200, b"", content_length="50"), drop=True),
    "dropped in the body": raw(response(200, b'{"choices', content_length="50"), drop=True),
    "no HTTP": raw(b"what?\r\n\r\n", drop=True),
    "busy": plain(429, {"error": {"message": "slow down"}}),
    "busy for seconds": plain(429, {}, retry_after="0.05"),
    "busy until a date": plain(429, {}, retry_after=format_datetime(LATER, usegmt=True)),
    "busy until nonsense": plain(503, {}, retry_after="soon"),
    "timed out": plain(408, {}),
    "broken": plain(500, {"error": "oops"}),
    "bad gateway": raw(response(502, b"<html>nginx</html>", content_type="text/html")),
    "gateway timed out": plain(504, {}),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_may_pass_is_tried_again(fault: str, server: FaultyServer, opened: Open) -> None:
    server.script = [PASSING[fault], PASSING[fault], written("fine")]
    (reply,) = opened().generate([QUESTION], BRIEF)
    assert (reply.text, reply.retries) == ("fine", 2)
    assert len(server.requests) == 3


def test_attempts_are_bounded(server: FaultyServer, opened: Open) -> None:
    server.script = [plain(503, {"error": {"message": "overloaded"}})]
    error = failure(opened(max_attempts=3))
    assert len(server.requests) == error.attempts == 3
    assert error.status == 503
    assert "overloaded" in str(error)
    assert "after 3 attempts" in str(error)


def test_a_server_that_is_not_there(server: FaultyServer, opened: Open) -> None:
    llm = opened(max_attempts=2)
    server.close()
    error = failure(llm)
    assert error.status is None
    assert error.attempts == 2
    with pytest.raises(CallFailed, match="ConnectError"):
        opened(max_attempts=1)


@pytest.mark.parametrize(
    "pause",
    ["3600", format_datetime(datetime.now(UTC) + timedelta(days=3), usegmt=True)],
    # Parallel runners must name the tests alike, so no name holds the time of day.
    ids=["seconds", "date"],
)
def test_an_absurd_retry_after_fails_at_once(
    pause: str, server: FaultyServer, opened: Open
) -> None:
    server.script = [plain(429, {}, retry_after=pause)]
    error = failure(opened())
    assert "longer than the 60 s that are waited" in str(error)
    assert len(server.requests) == 1


LASTING: dict[str, tuple[Behaviour, str]] = {
    "bad request": (plain(400, {"error": {"message": "no such field"}}), "400: no such field"),
    "detail": (plain(422, {"detail": [{"loc": "top_p"}]}), "422: .*top_p"),
    "plain text": (raw(response(418, b"teapot")), "418: teapot"),
    "no text": (raw(response(400, b"")), "the server answered 400"),
    "no key": (plain(401, {"error": {"message": "who?"}}), "taken from RAG_API_KEY"),
    "forbidden": (plain(403, {}), "taken from RAG_API_KEY"),
    "no such path": (plain(404, {"detail": "Not Found"}), "usually ends in /v1"),
    "redirect": (plain(307, {}, location="http://evil.example/v1"), "evil.example.*not followed"),
    "web page": (
        raw(response(200, b"<!doctype html><p>hi", content_type="text/html")),
        "not answer with JSON but '<!doctype html>.*usually ends in /v1",
    ),
    "web page as error": (raw(response(400, b"<html>", content_type="text/html")), "ends in /v1"),
    "malformed": (raw(response(200, b'{"choices": [')), "did not answer with JSON"),
    "not an object": (plain(200, [1, 2]), "did not answer with JSON"),
    "no choices": (plain(200, {"object": "x"}), "holds no reply"),
    "empty choices": (plain(200, {"choices": []}), "holds no reply"),
    "odd choices": (plain(200, {"choices": [3]}), "cannot be read"),
    "error inside": (plain(200, {"error": {"message": "cuda"}}), "an error: cuda"),
    "no message": (plain(200, {"choices": [{"finish_reason": "stop"}]}), "cannot be read"),
    "no text in it": (written(None), "holds no text"),
    "filtered": (written("", "content_filter"), "content filter"),
    "tool call": (written("", "tool_calls"), "'tool_calls'"),
    "aborted": (written("half", "abort"), "'abort'"),
    "unfinished": (written("half", None), "None, not 'stop'"),
}


@pytest.mark.parametrize("fault", LASTING)
def test_what_lasts_fails_at_once(fault: str, server: FaultyServer, opened: Open) -> None:
    behaviour, reason = LASTING[fault]
    server.script = [behaviour]
    llm = opened()
    with pytest.raises(CallFailed, match=reason) as caught:
        llm.generate([QUESTION], BRIEF)
    assert caught.value.attempts == len(server.requests) == 1


def test_a_huge_answer_is_cut_off(
    server: FaultyServer, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_ANSWER_BYTES", 2**20)
    server.script = [raw(response(200, b"", content_length="100000000"), *[b" " * 2**18] * 400)]
    assert "longer than 1 MiB" in str(failure(opened()))


def test_a_slow_answer_fails(server: FaultyServer, opened: Open) -> None:
    server.script = [hang]
    assert "no answer within 0.2 s" in str(failure(opened(timeout=0.2)))
    head = response(200, b"", content_length="1000")
    server.script = [raw(head, *[b" "] * 1000, pause=0.05)]  # some byte every now and then
    assert "no answer within 0.2 s" in str(failure(opened(timeout=0.2)))
    assert eventually(lambda: server.hung_up == 2)
    assert len(server.requests) == 2


OVERFLOWS = {
    "OpenAI": {
        "message": "This model's maximum context length is 4097 tokens. However, you requested "
        "5000 tokens (4000 in the messages, 1000 in the completion).",
        "code": "context_length_exceeded",
    },
    "llama.cpp": {
        "message": "request (5000 tokens) exceeds the available context size (4097 tokens)",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 5000,
        "n_ctx": 4097,
    },
}


@pytest.mark.parametrize("kind", OVERFLOWS)
def test_an_overflow_that_the_server_finds(kind: str, server: FaultyServer, opened: Open) -> None:
    server.script = [plain(400, {"error": OVERFLOWS[kind]})]
    with pytest.raises(ContextOverflow) as caught:
        opened().generate([QUESTION], BRIEF)
    assert (caught.value.tokens, caught.value.limit) == (5000, 4097)


def test_a_model_that_went_away(server: FaultyServer, opened: Open) -> None:
    server.script = [plain(404, {"error": {"message": "The model `model` does not exist."}})]
    with pytest.raises(ModelNotFound, match="does not exist"):
        opened().generate([QUESTION], BRIEF)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 2}, (7, 0, 2, 0)),
        (
            {
                "prompt_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 5},
                "completion_tokens": 2,
            },
            (7, 5, 2, 0),
        ),
        (
            {
                "prompt_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 8},
                "completion_tokens": 2,
            },
            (7, 0, 2, 0),
        ),
        ({"prompt_tokens": 7, "prompt_tokens_details": None, "completion_tokens": 9}, (7, 0, 4, 4)),
        ({"prompt_tokens": 7, "completion_tokens": 0}, (7, 0, 4, 4)),
        ({"prompt_tokens": -7, "completion_tokens": -2}, (9, 0, 4, 13)),
        ({"prompt_tokens": "7", "completion_tokens": True}, (9, 0, 4, 13)),
        ({"prompt_tokens": 7.5, "completion_tokens": None}, (9, 0, 4, 13)),
        ([7, 2], (9, 0, 4, 13)),
        (None, (9, 0, 4, 13)),
    ],
)
def test_usage_that_cannot_be_true_is_estimated(
    usage: object, counts: tuple[int, ...], server: FaultyServer, opened: Open
) -> None:
    server.script = [written("eleven byte", usage=usage)]
    (reply,) = opened().generate([QUESTION], BRIEF)
    assert counts == (
        reply.input_tokens,
        reply.cached_tokens,
        reply.output_tokens,
        reply.estimated_tokens,
    )


def test_others_of_a_batch_are_answered(server: FaultyServer, opened: Open) -> None:
    server.script = [plain(400, {}), written("fine")]
    with pytest.raises(BatchError) as caught:
        opened(concurrency=1).generate([QUESTION] * 3, BRIEF)
    failed, *replies = caught.value.results
    assert isinstance(failed, CallFailed)
    assert [reply.text for reply in replies] == ["fine", "fine"]


def test_batches_and_threads_share_the_bound(server: FaultyServer, opened: Open) -> None:
    server.script = [echoing(0.02)]
    llm = opened(concurrency=4)
    batches = [[Prompt(f"{batch}.{n}") for n in range(6)] for batch in range(3)]
    replies: dict[int, list[Reply]] = {}
    threads = [
        threading.Thread(target=lambda n=n: replies.update({n: llm.generate(batches[n], BRIEF)}))
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, batch in enumerate(batches):
        assert [reply.text for reply in replies[n]] == [prompt.question for prompt in batch]
    assert server.most == 4
    assert server.connections <= 6  # kept, but for the one that asked for the list


def test_samples_are_drawn_by_requests(server: FaultyServer, opened: Open) -> None:
    server.script = [written("a"), written("b"), written("c")]
    sampling = Sampling(max_tokens=8, temperature=1.0, n=3)
    (reply,) = opened(concurrency=1).generate([QUESTION], sampling)
    assert [each.text for each in reply.samples] == ["a", "b", "c"]
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 6)


def test_ctrl_c_hangs_up(server: FaultyServer, opened: Open) -> None:
    server.script = [hang]
    llm = opened()
    interrupt = partial(signal.pthread_kill, threading.get_ident(), signal.SIGINT)
    threading.Timer(0.2, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        llm.generate([QUESTION] * 2, BRIEF)
    assert eventually(lambda: server.hung_up == 2)


def test_close_ends_calls_under_way(server: FaultyServer, opened: Open) -> None:
    server.script = [hang]
    llm = opened()
    threading.Timer(0.2, llm.close).start()
    assert "is closed" in str(failure(llm))
    assert eventually(lambda: server.hung_up == 1)
    assert "is closed" in str(failure(llm))
    with pytest.raises(CallFailed, match="is closed"):
        list(llm.stream(QUESTION, BRIEF))


def test_a_forgotten_backend_ends_its_thread(server: FaultyServer) -> None:
    before = threading.active_count()
    llm = OpenAICompatibleLLM(server.url, context_window=4096)
    assert threading.active_count() == before + 1
    del llm
    gc.collect()
    assert eventually(lambda: threading.active_count() == before)


def test_a_form_that_the_server_ignores(server: FaultyServer, opened: Open) -> None:
    server.script = [written("Sure! Here is some JSON")]
    sampling = Sampling(max_tokens=8, json_schema={"type": "object"})
    assert "is not JSON: the server ignored its form" in str(failure(opened(), sampling))
    server.script = [written("fine")]
    assert "no logprobs" in str(failure(opened(), Sampling(max_tokens=8, logprobs=1)))
    with pytest.raises(CallFailed, match="no logprobs"):
        opened().next_token([QUESTION], ["A"])


def test_stop_strings_that_the_server_ignores(server: FaultyServer, opened: Open) -> None:
    server.script = [written("one STOP two", "length")]
    (reply,) = opened().generate([QUESTION], Sampling(max_tokens=8, stop=("STOP",)))
    assert (reply.text, reply.finish) == ("one ", "stop")
    pieces = (event("one S"), event("TO"), event("P two"), event("", "stop"), DONE)
    server.script = [streamed(*pieces)]
    *text, last = opened().stream(QUESTION, Sampling(max_tokens=8, stop=("STOP",)))
    assert text == ["one "]
    assert isinstance(last, Reply)
    assert (last.text, last.finish) == ("one ", "stop")


class TestStreams:
    def test_usage_comes_last(self, server: FaultyServer, opened: Open) -> None:
        usage = b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}\n\n'
        server.script = [
            plain(503, {}),
            streamed(event("é"), b": ping\n\n", event(" 🙂"), event("", "length"), usage, DONE),
        ]
        *pieces, reply = opened().stream(QUESTION, BRIEF)
        assert pieces == ["é", " 🙂"]
        assert reply == Reply("é 🙂", "length", input_tokens=7, output_tokens=2, retries=1)

    def test_without_usage_it_is_estimated(self, server: FaultyServer, opened: Open) -> None:
        server.script = [streamed(event("fine"), event("", "stop"))]
        *_, reply = opened().stream(QUESTION, BRIEF)
        assert isinstance(reply, Reply)
        assert reply.estimated_tokens == reply.input_tokens + reply.output_tokens > 0

    @pytest.mark.parametrize(
        ("pieces", "reason"),
        [
            ((event("half"),), "ended before the reply did"),
            ((event("half"), DONE), "ended before the reply did"),
            ((event("half"), b'data: {"choices": [{"del'), "JSON|ended before"),
            ((event("half"), b"data: <p>\n\n"), "did not answer with JSON"),
            ((event("half"), b'data: {"error": {"message": "cuda"}}\n\n'), "an error: cuda"),
            ((event("half"), b'data: {"choices": [7]}\n\n'), "cannot be read"),
            ((event("half"), event("", "content_filter"), DONE), "content filter"),
            ((event("half"), event("", "tool_calls"), DONE), "'tool_calls'"),
            ((event("half"), b"data: " + b"x" * 2**21), "broke off"),
        ],
    )
    def test_what_breaks_off_fails(
        self, pieces: tuple[bytes, ...], reason: str, server: FaultyServer, opened: Open
    ) -> None:
        server.script = [streamed(*pieces)]
        stream = opened().stream(QUESTION, BRIEF)
        assert next(stream) == "half"
        with pytest.raises(CallFailed, match=reason):
            next(stream)
        assert len(server.requests) == 1

    def test_what_is_dropped_fails(self, server: FaultyServer, opened: Open) -> None:
        head = response(200, b"", content_type="text/event-stream", content_length="9999")
        server.script = [raw(head, event("half"), drop=True)]
        with pytest.raises(CallFailed, match="broke off"):
            list(opened().stream(QUESTION, BRIEF))

    def test_what_is_no_stream_fails(self, server: FaultyServer, opened: Open) -> None:
        server.script = [plain(200, completion("fine"))]
        with pytest.raises(CallFailed, match="text/event-stream"):
            list(opened().stream(QUESTION, BRIEF))

    def test_a_pause_that_is_too_long_fails(self, server: FaultyServer, opened: Open) -> None:
        server.script = [streamed(event("a"), event("b"), pause=5)]
        with pytest.raises(CallFailed, match=r"no answer within 0\.2 s"):
            list(opened(timeout=0.2).stream(QUESTION, BRIEF))
        assert eventually(lambda: server.hung_up == 1)

    def test_leaving_it_hangs_up(self, server: FaultyServer, opened: Open) -> None:
        server.script = [streamed(*map(event, "abc"), pause=0.1), written("fine")]
        llm = opened(concurrency=1)
        stream = llm.stream(QUESTION, BRIEF)
        assert next(stream) == "a"
        del stream
        assert eventually(lambda: server.hung_up == 1)
        assert llm.generate([QUESTION], BRIEF)[0].text == "fine"

    def test_opening_it_is_tried_again(self, server: FaultyServer, opened: Open) -> None:
        server.script = [raw(drop=True), plain(500, {}), plain(400, {"error": "no streams"})]
        with pytest.raises(CallFailed, match="no streams") as caught:
            list(opened(concurrency=1).stream(QUESTION, BRIEF))
        assert caught.value.attempts == len(server.requests) == 3
