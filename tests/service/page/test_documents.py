from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.service.jobs import GatedEmbedder, names
from tests.service.page.visits import Visit
from tests.service.running import RunningService


def test_files_are_uploaded_with_progress_and_then_found(
    browser: Browser, tmp_path: Path, note: Path
) -> None:
    embedder = GatedEmbedder()
    with RunningService(tmp_path / "data", embedder=embedder) as service, Visit(browser) as visit:
        service.client.post("/v1/collections", json={"name": "handbook"})
        page = visit.open(service, "#view=documents")
        expect(page.get_by_text("There are no documents yet.")).to_be_visible()
        fake = {"name": "fake.pdf", "mimeType": "application/pdf", "buffer": b"no PDF at all"}
        page.locator("#files").set_input_files(
            [fake, {"name": note.name, "mimeType": "text/markdown", "buffer": note.read_bytes()}]
        )
        job = page.get_by_role("list", name="Uploads")
        expect(job).to_contain_text("Indexing:")
        expect(job.get_by_role("progressbar")).to_be_visible()
        expect(job.get_by_role("button", name="Cancel")).to_be_visible()
        embedder.gate.set()
        expect(job).to_contain_text("Upload indexed: 1 added.")
        expect(job).to_contain_text("fake.pdf:")
        page.get_by_role("button", name="Parking", exact=True).click()
        expect(page.get_by_role("dialog", name="Parking")).to_contain_text("Bicycles are parked")
        page.get_by_role("button", name="Close the document").click()
        page.get_by_role("link", name="Ask", exact=True).click()
        expect(visit.ask("Where are bicycles parked?").locator(".sources")).to_contain_text(
            "Bicycles are parked behind the lighthouse."
        )


def test_what_is_not_taken_is_said_and_what_is_taken_can_be_cancelled(
    browser: Browser, tmp_path: Path, note: Path
) -> None:
    embedder = GatedEmbedder()
    limits = {"file_bytes": 1000}
    with (
        RunningService(tmp_path / "data", embedder=embedder, limits=limits) as service,
        Visit(browser) as visit,
    ):
        visit.expect_errors("422")
        service.client.post("/v1/collections", json={"name": "handbook"})
        page = visit.open(service, "#view=documents")
        large = {"name": "large.txt", "mimeType": "text/plain", "buffer": b"x" * 1001}
        page.locator("#files").set_input_files([large])
        jobs = page.get_by_role("list", name="Uploads")
        expect(jobs).to_contain_text("large.txt: larger than 1,000 bytes")
        archive = {**large, "name": "all.md", "buffer": b"PK\x03\x04" + b"\0" * 50}
        page.locator("#files").set_input_files([archive])
        expect(page.get_by_role("alert")).to_contain_text("all.md")
        page.get_by_role("button", name="Dismiss").click()
        expect(page.get_by_role("alert")).to_have_count(0)
        assert service.client.get("/v1/jobs").json() == []

        dropped = page.evaluate_handle(
            """text => {
                const data = new DataTransfer();
                data.items.add(new File([text], "dropped.md", { type: "text/markdown" }));
                return data;
            }""",
            note.read_text(),
        )
        page.dispatch_event("#dropzone", "drop", {"dataTransfer": dropped})
        assert embedder.waiting.wait(10)
        page.reload()  # whoever comes back sees what is under way
        jobs.get_by_role("button", name="Cancel").click()
        expect(jobs).to_contain_text("Upload cancelled")
        assert names(service.client) == []


def test_documents_are_listed_page_by_page(visit: Visit, handbook: RunningService) -> None:
    first = [{"id": f"{n}.md", "title": "", "uri": "", "metadata": {}} for n in range(50)]
    last = [{"id": "last.md", "title": "The last", "uri": "", "metadata": {}}]
    visit.reply_to("**/documents?limit=50", 200, {"documents": first, "next": "49.md"})
    visit.reply_to("**/documents?limit=50&after=49.md", 200, {"documents": last, "next": None})
    page = visit.open(handbook, "#view=documents")
    rows = page.locator("#document-list li")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(51)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    assert visit.has_focus(page.get_by_role("button", name="The last", exact=True))


def test_a_document_is_deleted_once_that_is_confirmed(
    own_handbook: RunningService, visit: Visit
) -> None:
    page = visit.open(own_handbook, "#view=documents")
    delete = page.get_by_role("button", name="Delete Expenses")
    delete.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Cancel").click()
    assert visit.has_focus(delete)
    delete.click()
    dialog.get_by_role("button", name="Delete document").click()
    expect(page.locator("#collection-facts")).to_contain_text("1 document ·")
    expect(page.locator("#document-list li")).to_have_count(1)
    assert names(own_handbook.client) == ["harbour.md"]
    assert visit.has_focus(page.get_by_role("button", name="Harbour 🦀🎉", exact=True))


def test_collections_are_made_and_deleted(running: RunningService, visit: Visit) -> None:
    visit.expect_errors("409")
    page = visit.open(running)
    page.get_by_role("link", name="Create a collection").click()
    for name, refused in (("atlas", False), ("Atlas", True)):
        page.get_by_role("button", name="New collection").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill(name)
        dialog.get_by_role("button", name="Create").click()
        if refused:
            expect(dialog.get_by_role("alert")).to_contain_text("ollection")
            page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(page.get_by_role("heading", name="atlas")).to_be_visible()
    page.get_by_role("button", name="Delete collection").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete collection").click()
    expect(page.get_by_text("No collection is chosen.")).to_be_visible()
    assert running.client.get("/v1/collections").json() == []
