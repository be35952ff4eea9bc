"""Modules of the page by themselves, and what the browser lets none of them do."""

from typing import Any

from tests.service.page.visits import Visit
from tests.service.running import RunningService

TEXT = "a🦀e\u0301👩‍👩‍👧z\r\n🎉"
CUT_AT_EACH_CHARACTER = """async ([text, count]) => {
    const { unitOffset } = await import("/static/characters.js");
    return Array.from({ length: count }, (_, n) => text.slice(0, unitOffset(text, n)));
}"""

STREAM = ': hello\r\n\r\nevent: delta\r\ndata: "🦀"\r\n\r\ndata: a\ndata: b\n\ndata: cut'
EVENTS = [{"event": "delta", "data": '"🦀"'}, {"event": "message", "data": "a\nb"}]
READ_IN_CHUNKS = """async ([text, chunk]) => {
    const { serverSentEvents } = await import("/static/events.js");
    const bytes = new TextEncoder().encode(text);
    const body = new ReadableStream({
        start(to) {
            for (let at = 0; at < bytes.length; at += chunk)
                to.enqueue(bytes.slice(at, at + chunk));
            to.close();
        },
    });
    const found = [];
    for await (const each of serverSentEvents(body)) found.push(each);
    return found;
}"""

WRITE_MARKUP = """() => {
    try { document.body.innerHTML = "<b>bold</b>"; } catch (error) { return error.name; }
}"""


def test_modules(visit: Visit, handbook: RunningService) -> None:
    visit.expect_errors("TrustedHTML")
    page = visit.open(handbook)

    count = len(TEXT) + 2
    found: Any = page.evaluate(CUT_AT_EACH_CHARACTER, [TEXT, count])
    assert found == [TEXT[:length] for length in range(count)], "offsets count code points"

    for chunk in (1, 7, 1000):
        found = page.evaluate(READ_IN_CHUNKS, [STREAM, chunk])
        assert found == EVENTS, "events are read however they arrive"

    assert page.evaluate(WRITE_MARKUP) == "TypeError", "the browser refuses markup"
