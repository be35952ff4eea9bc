from playwright.sync_api import expect

from tests.service.page.visits import Visit
from tests.service.running import RunningService


def test_a_key_is_asked_for_and_kept_for_the_visit_only(
    own_handbook: RunningService, visit: Visit
) -> None:
    visit.expect_errors("401")
    _, secret = own_handbook.service.keys.create("reader", ["read"])
    page = visit.page
    page.goto(own_handbook.url)
    dialog = page.get_by_role("dialog", name="Sign in")
    field = dialog.get_by_label("API key")
    assert field.get_attribute("type") == "password"
    assert visit.has_focus(field)
    field.fill("rag_wrong")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("The service does not take this key.")
    field.fill(f" {secret} ")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    visit.ask()
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [
        0,
        1,
        "",
    ]

    # What a key that reads may not do is not offered.
    page.get_by_role("link", name="Documents", exact=True).click()
    expect(page.get_by_role("button", name="Expenses", exact=True)).to_be_visible()
    for name in ("Choose files", "New collection", "Delete collection", "Delete Expenses"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)

    page.get_by_role("button", name="Sign out").click()
    expect(dialog).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
