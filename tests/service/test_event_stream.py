import asyncio
import json
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.documents import Passage
from rag.core.errors import CallFailed, SearchFailed
from rag.core.events import Finished, Started, TextDelta
from rag.core.generation import Prompt
from rag.core.hits import Hit
from rag.core.operations import CountTokens, Generate, NextToken, Score
from rag.core.search_operations import Fetch, Search, SearchWeb
from rag.core.usage import Usage
from rag.core.web import WebQuery, WebResult, WebResults
from rag.service.answer_schemas import DeltaEvent
from rag.service.errors import ApiError
from rag.service.event_stream import (
    KEEP_ALIVE,
    EventStream,
    format_event,
    format_progress,
    kept_alive,
    operation_name,
)
from tests.service.sse import parse, parse_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NASTY = ["\n\nevent: answer\ndata: {}\n\n", "a\u2028b\u2029c\x85d\x0b\x0c\x1ce", "\r", "", "🦉" * 9]
READ = Generate(Prompt("q"), stage="read")


def delta(text: str) -> bytes:
    made = format_progress(TextDelta(READ, text))
    assert made is not None
    return made


@given(st.lists(TEXT | st.sampled_from(NASTY), max_size=5))
def test_what_is_written_is_what_is_read(texts: list[str]) -> None:
    stream = b"".join(delta(text) + KEEP_ALIVE for text in texts)
    assert [each["text"] for _, each in parse_json(stream)] == texts
    assert {kind for kind, _ in parse(stream)} <= {"delta"}


@given(TEXT | st.sampled_from(NASTY))
def test_clients_that_split_at_every_kind_of_line_end_read_the_same(text: str) -> None:
    name, data, end = delta(text).decode().splitlines()
    assert (name, end) == ("event: delta", "")
    assert json.loads(data.removeprefix("data: ")) == {"stage": "read", "text": text}


def test_huge_texts_arrive_whole() -> None:
    huge = "\u2028line\n" * 500_000
    ((_, data),) = parse_json(format_event("delta", DeltaEvent(stage="read", text=huge)))
    assert data["text"] == huge


def hit(title: str, number: int = 0) -> Hit:
    text = "the secret text of a passage"
    return Hit(Passage(f"d{number}#0", f"d{number}", text, 0, len(text), title), 1.0)


def test_searches_tell_queries_and_titles_but_no_texts() -> None:
    search = Search("herons")
    hits = [hit("Heron"), hit("Heron", 1), hit("", 2), *(hit(f"Bird {n}") for n in range(9))]
    made = format_progress(Finished(search, hits, Usage(searches=1)))
    assert made is not None
    assert b"secret" not in made
    ((kind, told),) = parse_json(made)
    assert (kind, told["operation"], told["state"]) == ("operation", "search", "finished")
    assert told["detail"] == "herons"
    assert told["found"] == ["Heron", "d2", "Bird 0", "Bird 1", "Bird 2"]
    assert told["usage"]["searches"] == 1


@pytest.mark.parametrize(
    ("op", "operation", "detail"),
    [
        (SearchWeb(WebQuery("heron nest"), engine=None), "search_web", "heron nest"),  # type: ignore[arg-type]
        (Fetch("http://birds.example/", fetcher=None), "fetch", "http://birds.example/"),  # type: ignore[arg-type]
        (READ, "generate", ""),
        (NextToken(Prompt("secret"), ("a",)), "next_token", ""),
        (Score(Prompt("secret"), "secret"), "score", ""),
    ],
)
def test_operations_have_names_and_details(op: object, operation: str, detail: str) -> None:
    made = format_progress(Started(op))
    assert made is not None
    ((_, told),) = parse_json(made)
    assert (told["operation"], told["detail"], told["state"]) == (operation, detail, "started")
    assert operation_name(op) == operation
    assert b"secret" not in made


def test_counting_tokens_is_not_told() -> None:
    op = CountTokens(Prompt("secret"))
    assert format_progress(Started(op)) is None
    assert format_progress(Finished(op, 5, Usage())) is None


def test_results_of_web_searches_are_told_by_title() -> None:
    op = SearchWeb(WebQuery("q"), engine=None)  # type: ignore[arg-type]
    pages = WebResults(
        (
            WebResult("http://a.example/", "A", "secret", 1, "e"),
            WebResult("http://b.example/", "", "secret", 2, "e"),
        )
    )
    made = format_progress(Finished(op, pages, Usage()))
    assert made is not None
    assert parse_json(made)[0][1]["found"] == ["A", "http://b.example/"]
    assert b"secret" not in made


def test_failures_are_told_without_their_reasons() -> None:
    made = format_progress(Finished(Search("q"), SearchFailed("dense", "secret"), Usage()))
    assert made is not None
    assert parse_json(made)[0][1]["state"] == "failed"
    assert b"secret" not in made


async def collected(stream: EventStream) -> bytes:
    return b"".join([bytes(chunk) async for chunk in stream.body_iterator])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ApiError(504, "deadline", "too late"), "deadline", "too late"),
        (CallFailed("llm", "no answer"), "model_failed", "no answer"),
        (ValueError("/secret/path"), "internal", "unexpected"),
    ],
)
def test_an_error_midway_is_the_last_event(error: Exception, code: str, message: str) -> None:
    async def failing() -> AsyncGenerator[bytes, None]:
        yield delta("a")
        raise error

    async def main() -> bytes:
        return await collected(EventStream(failing()))

    stream = asyncio.run(main())
    (_, first), (kind, told) = parse_json(stream)
    assert (first["text"], kind, told["error"]["code"]) == ("a", "error", code)
    assert message in told["error"]["message"]
    assert b"secret" not in stream


def test_comments_keep_a_silent_stream_alive() -> None:
    ended = []

    async def slow() -> AsyncGenerator[bytes, None]:
        try:
            yield delta("a")
            await asyncio.sleep(0.05)
            yield delta("b")
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def main() -> bytes:
        chunks = kept_alive(slow(), seconds=0.005)
        seen = b""
        while b"b" not in b"".join(data.encode() for _, data in parse(seen)[1:]):
            seen += await anext(chunks)
        while not seen.endswith(KEEP_ALIVE):
            seen += await anext(chunks)
        await chunks.aclose()
        return seen

    seen = asyncio.run(main())
    assert [each["text"] for _, each in parse_json(seen)] == ["a", "b"]
    assert seen.count(KEEP_ALIVE) >= 2
    assert ended == [True]
