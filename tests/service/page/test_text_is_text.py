"""Nothing that the page shows is ever read as markup, wherever it comes from."""

import re
from pathlib import Path

from playwright.sync_api import Browser, expect

from rag.testing import ScriptedLLM
from tests.service.jobs import uploaded
from tests.service.page.visits import Visit, answer_with
from tests.service.running import RunningService

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script><svg onload=alert(3)>"
SAID = f"The harbour opens at seven {EVIL} in the morning."
SCRIPTS = "[document.scripts.length, document.querySelectorAll('main img, main iframe').length]"


def test_documents_and_models_cannot_write_markup(browser: Browser, tmp_path: Path) -> None:
    llm = ScriptedLLM(lambda _: f"{SAID} {EVIL}")
    with RunningService(tmp_path, llm=llm) as service, Visit(browser) as visit:
        service.client.post("/v1/collections", json={"name": "handbook"})
        name = "<img src=x onerror=alert(4)>.txt"
        job = uploaded(service.client, {name: f"{EVIL}\n\n{SAID}\n"})
        assert job["report"]["added"] == 1, job
        page = visit.open(service)
        turn = visit.ask(f"When does the harbour open? {EVIL}")
        expect(turn).to_contain_text("<script>alert(2)</script>")
        turn.locator(".cite").first.click()
        expect(page.locator("#reader-text")).to_contain_text("<svg onload=alert(3)>")
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Documents", exact=True).click()
        row = page.locator("#document-list li")
        expect(row).to_contain_text("<img src=x onerror=alert(4)>.txt")
        row.get_by_role("button", name=re.compile("^Delete ")).click()
        expect(page.get_by_role("dialog")).to_contain_text("<img src=x")
        assert page.evaluate(SCRIPTS) == [1, 0]


def test_errors_and_events_cannot_write_markup(visit: Visit, handbook: RunningService) -> None:
    visit.expect_errors("500")
    operation = {
        "operation": "fetch",
        "stage": EVIL,
        "detail": "javascript:5",
        "found": [EVIL],
    }
    visit.reply_with_events(
        ("operation", {**operation, "state": "started"}),
        ("operation", {**operation, "operation": EVIL, "state": "failed"}),
        ("delta", {"stage": "read", "text": EVIL}),
        ("answer", answer_with(text=EVIL, notes=[EVIL], pipeline=EVIL)),
    )
    page = visit.open(handbook)
    turn = visit.ask(EVIL)
    for summary in turn.locator("summary").all():
        summary.click()
    expect(turn).to_contain_text(f"Working: {EVIL}")
    expect(turn.get_by_role("link")).to_have_count(0)
    visit.reply_to("**/v1/feedback", 500, {"error": {"message": EVIL, "code": EVIL}})
    turn.get_by_role("button", name="Good answer").click()
    expect(turn.locator(".feedback")).to_contain_text(EVIL)
    assert page.evaluate(SCRIPTS) == [1, 0]
