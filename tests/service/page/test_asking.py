from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect

from tests.service.doubles import EndlessLLM, GatedLLM, eventually
from tests.service.jobs import uploaded
from tests.service.page.visits import ANSWER, DOCUMENTS, QUESTION, Visit, answer_with
from tests.service.running import RunningService

CITED: dict[str, Any] = {
    "number": 1,
    "passage_id": "web:1",
    "document_id": "https://harbour.example/hours",
    "start": 0,
    "end": 9,
    "quote": "It is so.",
    "title": "Opening hours",
    "uri": "https://harbour.example/hours",
    "retrieved": "2026-03-01T08:30:00Z",
}


def test_a_citation_opens_the_passage_marked_in_its_document(
    visit: Visit, handbook: RunningService
) -> None:
    page = visit.open(handbook)
    turn = visit.ask()
    expect(turn.locator(".answer")).to_have_text(f"{ANSWER}1")
    citation = turn.get_by_role("button", name="Citation 1: Harbour 🦀🎉")
    citation.click()
    reader = page.get_by_role("dialog", name="Harbour")
    expect(reader.locator("mark")).to_have_text(ANSWER)
    expect(reader.locator("mark")).to_be_in_viewport()
    expect(reader.locator("#reader-text")).to_have_text(DOCUMENTS["harbour.md"])
    page.keyboard.press("Escape")
    expect(reader).to_be_hidden()
    assert visit.has_focus(citation)


def test_steps_arrive_before_the_answer_and_it_is_rated(browser: Browser, tmp_path: Path) -> None:
    llm = GatedLLM()
    with RunningService(tmp_path, llm=llm) as service, Visit(browser) as visit:
        service.client.post("/v1/collections", json={"name": "handbook"})
        uploaded(service.client, DOCUMENTS)
        page = visit.open(service)
        page.get_by_role("textbox", name="Question").fill(QUESTION)
        page.keyboard.press("Enter")
        steps = page.locator(".steps")
        expect(steps).to_contain_text(f"Searching for “{QUESTION}”")
        expect(steps).to_contain_text("Found Harbour 🦀🎉")
        expect(steps).to_contain_text("Reading")
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        expect(page.locator(".answer")).to_have_count(0)
        llm.gate.set()
        turn = page.get_by_role("article")
        expect(turn.locator(".answer")).not_to_be_empty()
        expect(page.get_by_role("button", name="Stop")).to_have_count(0)
        turn.locator(".cost summary").click()
        expect(turn.get_by_role("row", name="read")).to_be_visible()

        turn.get_by_role("button", name="Bad answer").click()
        turn.get_by_label("Comment").fill("Too short.")
        turn.get_by_role("button", name="Send comment").click()
        expect(turn.locator(".feedback")).to_contain_text("Thank you for the comment.")
        (entry,) = service.client.get("/v1/feedback").json()["feedback"]
        assert (entry["rating"], entry["comment"]) == ("down", "Too short.")
        assert entry["question"] == QUESTION


def test_stopping_shows_what_was_written_no_more_and_ends_the_work(
    browser: Browser, tmp_path: Path
) -> None:
    llm = EndlessLLM()
    with RunningService(tmp_path, llm=llm) as service, Visit(browser) as visit:
        service.client.post("/v1/collections", json={"name": "handbook"})
        uploaded(service.client, DOCUMENTS)
        page = visit.open(service)
        page.get_by_role("textbox", name="Question").fill(QUESTION)
        page.keyboard.press("Enter")
        expect(page.locator(".draft")).to_contain_text("word word word")
        page.get_by_role("button", name="Stop").click()
        assert eventually(llm.closed.is_set)
        expect(page.get_by_role("article")).to_contain_text("Stopped.")
        expect(page.get_by_role("button", name="Ask again")).to_be_visible()


def test_pages_of_the_web_are_linked_and_what_is_no_address_is_not(
    visit: Visit, handbook: RunningService
) -> None:
    script = {**CITED, "number": 2, "uri": "javascript:alert(1)", "title": "Trap"}
    answer = answer_with(
        text="It is so. [1] So it is. [2] Or [3].", citations=[CITED, script], supported=False
    )
    visit.reply_with_events(("start", {"id": "a1", "pipeline": "read"}), ("answer", answer))
    page = visit.open(handbook)
    turn = visit.ask()
    expect(turn.locator(".answer")).to_have_text("It is so.1 So it is.2 Or [3].")
    expect(turn).to_contain_text("The documents do not support an answer.")
    expect(turn).to_contain_text("retrieved 1 Mar 2026")
    link = turn.get_by_role("link")
    expect(link).to_have_count(1)
    expect(link).to_have_attribute("href", CITED["uri"])
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    turn.get_by_role("button", name="Citation 2: Trap").click()
    reader = page.get_by_role("dialog", name="Trap")
    expect(reader.locator("mark")).to_have_text("It is so.")
    expect(reader.get_by_role("link")).to_have_count(0)


def test_the_slider_shows_what_a_budget_would_buy(visit: Visit, handbook: RunningService) -> None:
    page = visit.open(handbook)
    slider = page.get_by_role("slider", name="Budget")
    assert slider.get_attribute("aria-valuetext") == "no limit"
    expect(page.locator("#plan")).to_contain_text("all 2 fit")
    slider.focus()
    page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "100 tokens"
    expect(page.locator("#plan")).to_contain_text("fit")
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "1,000 tokens"
    with page.expect_request("**/v1/answer") as sent:
        visit.ask()
    asked = sent.value.post_data_json
    assert asked["budget"] == {"tokens": 1000}
    assert asked["pipeline"] == "read"

    page.get_by_text("More options").click()
    page.get_by_label("Pipeline").select_option("extractive")
    expect(page.locator("#plan")).to_contain_text("no language model reads them")


def test_a_filter_that_is_none_is_not_sent(visit: Visit, handbook: RunningService) -> None:
    page = visit.open(handbook)
    page.get_by_text("More options").click()
    where = page.get_by_label("Only documents with this metadata")
    where.fill("[1]")
    expect(page.locator("#where-says")).to_contain_text("A filter is an object")
    where.fill("{")
    expect(page.locator("#where-says")).to_contain_text("This is not JSON")
    page.get_by_role("textbox", name="Question").fill(QUESTION)
    page.keyboard.press("Enter")
    assert not any(url.endswith("/v1/answer") for url in visit.requests)
    where.fill('{"format": "nonsense"}')
    expect(page.locator("#where-says")).to_be_empty()
    with page.expect_request("**/v1/answer") as sent:
        expect(visit.ask()).to_contain_text("The documents do not support an answer.")
    assert sent.value.post_data_json["where"] == {"format": "nonsense"}


def test_errors_are_told_and_the_question_is_kept(visit: Visit, handbook: RunningService) -> None:
    visit.expect_errors("429", "ERR_CONNECTION_REFUSED")
    page = visit.open(handbook)
    error = {"message": "too many requests wait", "code": "overloaded", "request_id": "r-17"}
    visit.reply_to("**/v1/answer", 429, {"error": error}, **{"Retry-After": "12"})
    turn = visit.ask()
    expect(turn).to_contain_text("Too many requests wait. Try again in 12 seconds.")
    expect(turn).to_contain_text("r-17")
    assert page.get_by_role("textbox", name="Question").input_value() == QUESTION

    page.unroute("**/v1/answer")
    page.route("**/v1/answer", lambda route: route.abort("connectionrefused"))
    turn = visit.ask()
    expect(turn).to_contain_text("The service cannot be reached.")
    assert page.get_by_role("textbox", name="Question").input_value() == QUESTION

    page.unroute("**/v1/answer")
    turn.get_by_role("button", name="Ask again").click()
    expect(page.locator(".answer")).to_have_text(f"{ANSWER}1")
    expect(page.get_by_role("article")).to_have_count(3)
    assert page.get_by_role("textbox", name="Question").input_value() == ""


def test_an_address_names_the_collection(browser: Browser, running: RunningService) -> None:
    for name in ("atlas", "handbook"):
        running.client.post("/v1/collections", json={"name": name})
    with Visit(browser) as visit:
        page = visit.open(running, "#collection=handbook")
        expect(page.get_by_label("Collection")).to_have_value("handbook")
        page.get_by_label("Collection").select_option("atlas")
        expect(page.locator("#welcome")).to_contain_text("atlas holds no documents yet.")
        assert page.url.endswith("#collection=atlas")
        page.get_by_role("link", name="Documents", exact=True).click()
        expect(page.get_by_role("heading", name="atlas")).to_be_visible()
