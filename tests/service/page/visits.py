"""Visits of the page, watched for what must never happen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Self

from playwright.sync_api import Browser, Locator, Page

from tests.service.running import RunningService

ANSWER = "The harbour opens at seven in the morning."

DOCUMENTS = {
    # Each of these faces is one code point or more, and two UTF-16 units for each of those.
    "harbour.md": f"# Harbour 🦀🎉\n\n👩‍👩‍👧 Families 🐙 meet first.\n\n{ANSWER} Dogs 🐕 wait.\n",
    "expenses.md": "# Expenses\n\nExpenses are paid within thirty days.\n",
}

QUESTION = "When does the harbour open?"


class Visit:
    """A visit of the page, in a browser profile of its own.

    Args:
        browser: The browser.
        options: What Playwright is told of the visitor: viewport, colour scheme, …

    Attributes:
        page: The page.
        requests: Addresses of all requests.
    """

    def __init__(self, browser: Browser, **options: Any) -> None:
        # Without animations a click need not wait until they are over.
        self._context = browser.new_context(reduced_motion="reduce", **options)
        self._context.set_default_timeout(10_000)
        self.page = self._context.new_page()
        self.requests: list[str] = []
        self._wrong: list[str] = []
        self._expected: tuple[str, ...] = ()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self._wrong.append(str(error)))
        self.page.on("console", lambda message: self._console(message.type, message.text))
        self.page.on("dialog", lambda dialog: self._wrong.append(f"dialog: {dialog.message}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()
        wrong = [each for each in self._wrong if not any(some in each for some in self._expected)]
        assert wrong == [], wrong
        hosts = {url.split("/")[2] for url in self.requests if not url.startswith("blob:")}
        assert len(hosts) <= 1, hosts

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self._wrong.append(text)

    def expect_errors(self, *texts: str) -> None:
        """Allow errors in the console that have one of these texts in them."""
        self._expected = texts

    def open(self, service: RunningService, fragment: str = "") -> Page:
        """Open the page and wait until it is ready."""
        self.page.goto(f"{service.url}/{fragment}")
        self.page.wait_for_selector("#plan :is(dl, .warn)", state="attached")
        return self.page

    def ask(self, question: str = QUESTION) -> Locator:
        """Ask, and return the question's place on the page once the answer is there."""
        self.page.get_by_role("textbox", name="Question").fill(question)
        self.page.get_by_role("button", name="Ask", exact=True).click()
        turn = self.page.get_by_role("article").first
        turn.locator("footer, .notice").first.wait_for()
        return turn

    def has_focus(self, locator: Locator) -> bool:
        """Return whether an element has the focus."""
        return bool(locator.evaluate("element => element === document.activeElement"))

    def reply_to(self, path: str, status: int, body: Any, **headers: str) -> None:
        """Reply to requests in the service's place."""
        self.page.route(
            path,
            lambda route: route.fulfill(
                status=status,
                headers={"Content-Type": "application/json", **headers},
                body=json.dumps(body),
            ),
        )

    def reply_with_events(self, *events: tuple[str, Any]) -> None:
        """Reply to questions in the service's place."""
        self.page.route(
            "**/v1/answer",
            lambda route: route.fulfill(content_type="text/event-stream", body=stream_of(events)),
        )


def stream_of(events: Sequence[tuple[str, Any]]) -> str:
    """Return server-sent events."""
    return "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)


def answer_with(**fields: Any) -> dict[str, Any]:
    """Return an `AnswerReply` in which these fields are set."""
    usage = {
        "input_tokens": 900,
        "cached_tokens": 400,
        "output_tokens": 20,
        "calls": 1,
        "searches": 1,
        "seconds": 1.5,
        "cost": 0.0,
        "estimated_tokens": 0,
        "retries": 0,
        "cache_hits": 0,
        "fetches": 0,
    }
    return {
        "id": "a1",
        "text": "It is so. [1]",
        "supported": True,
        "citations": [],
        "hits": [],
        "steps": [],
        "notes": [],
        "pipeline": "read",
        "usage": usage,
        "stages": [{"stage": "read", "usage": usage}],
        "seconds": 1.5,
        "confidence": None,
        "sensitivity": [],
        **fields,
    }
