"""The page for everybody: by keyboard, on a phone, in the dark, to a screen reader."""

from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.service.page.visits import QUESTION, Visit
from tests.service.running import RunningService

WIDE: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}

RUN_AXE = """async options => {
    const { violations } = await axe.run({ ...options, resultTypes: ["violations"] });
    return { violations };
}"""


def check(page: Page, view: str) -> None:
    """Check what is shown in light, in the dark and on a phone, and that it fits its width."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    contrast = {"runOnly": ["color-contrast"]}  # all else in the dark is as it is in light
    for mode, scheme, size, options in (
        ("dark", "dark", WIDE, contrast),
        ("phone", "light", PHONE, {}),
        ("light", "light", WIDE, {}),
    ):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size(size)
        found = AxeResults(page.evaluate(RUN_AXE, options))
        assert found.violations_count == 0, f"{view}, {mode}: {found.generate_report()}"
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"], f"{view}, {mode}: {width} pixels wide"


def test_axe_finds_nothing(browser: Browser, own_handbook: RunningService) -> None:
    # axe is a script that is put into the page, which the page's own policy would refuse.
    with Visit(browser, bypass_csp=True, viewport=WIDE) as visit:
        visit.expect_errors("401")
        page = visit.open(own_handbook)
        page.get_by_text("More options").click()
        page.get_by_label("Only documents with this metadata").fill("{")
        check(page, "ask")
        page.get_by_label("Only documents with this metadata").fill("")
        turn = visit.ask()
        for summary in turn.locator("summary").all():
            summary.click()
        turn.get_by_role("button", name="Good answer").click()
        expect(turn.get_by_label("Comment")).to_be_visible()
        check(page, "answer")
        turn.locator(".cite").first.click()
        expect(page.locator("mark")).to_be_visible()
        check(page, "document")
        page.get_by_role("button", name="Close the document").click()
        page.get_by_role("link", name="Documents", exact=True).click()
        expect(page.locator("#document-list li")).to_have_count(2)
        check(page, "documents")
        page.get_by_role("button", name="Delete Expenses").click()
        check(page, "confirmation")
        page.keyboard.press("Escape")
        own_handbook.service.keys.create("reader", ["read"])
        page.reload()
        expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
        check(page, "sign in")


def test_everything_is_within_reach_of_the_keyboard(
    own_handbook: RunningService, visit: Visit
) -> None:
    page = visit.open(own_handbook)
    press = page.keyboard.press

    def tab_to(name: str) -> None:
        for _ in range(40):
            press("Tab")
            focused = page.locator(":focus")
            if focused.count() and name in (
                focused.get_attribute("aria-label") or focused.inner_text()
            ):
                return
        raise AssertionError(f"{name} is out of reach")

    assert visit.has_focus(page.get_by_role("textbox", name="Question"))
    page.keyboard.type(QUESTION)
    press("Enter")
    expect(page.locator("article footer")).to_be_visible()
    tab_to("Citation 1")
    press("Enter")
    expect(page.locator("mark")).to_be_visible()
    press("Tab")
    assert visit.has_focus(page.get_by_role("button", name="Close the document"))
    press("Escape")
    assert visit.has_focus(page.locator(".cite").first)
    tab_to("Good answer")
    press("Space")
    expect(page.get_by_label("Comment")).to_be_visible()
    page.locator("body").evaluate("() => document.activeElement.blur()")
    tab_to("Documents")
    press("Enter")
    expect(page.locator("#document-list li")).to_have_count(2)
    tab_to("Delete Expenses")
    press("Enter")
    tab_to("Delete document")
    press("Enter")
    expect(page.locator("#document-list li")).to_have_count(1)


def test_a_document_fills_the_screen_of_a_phone(browser: Browser, handbook: RunningService) -> None:
    with Visit(browser, viewport=PHONE, has_touch=True) as visit:
        page = visit.open(handbook)
        visit.ask().locator(".cite").first.tap()
        mark = page.locator("mark")
        expect(mark).to_be_in_viewport()
        box = page.locator("#reader").bounding_box()
        assert box == {"x": 0, "y": 0, **PHONE}
        page.set_viewport_size(WIDE)  # as where it is turned, or leaves a split screen
        expect(mark).to_be_in_viewport()
        page.get_by_role("textbox", name="Question").click()
        page.get_by_role("button", name="Close the document").click()
        expect(page.locator("#reader")).to_be_hidden()
