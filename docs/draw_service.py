"""Draws docs/service.png and docs/service-phone.png: the page of a service, as it really is.

rag serve examples/sqlite
python docs/draw_service.py http://127.0.0.1:8000
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

QUESTION = "What is the maximum size of a database file?"
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu")


def main() -> None:
    """Ask on the page of a service, and write the pictures beside this file."""
    url = sys.argv[1]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=ARGUMENTS
        )
        wide = asked(browser, url, viewport={"width": 1280, "height": 800})
        wide.locator(".cite").first.click()
        wide.locator("mark").wait_for()
        draw(wide, "service.png")
        phone = asked(
            browser,
            url,
            viewport={"width": 390, "height": 900},
            device_scale_factor=2,
            color_scheme="dark",
        )
        draw(phone, "service-phone.png")
        browser.close()


def asked(browser: Browser, url: str, **options: object) -> Page:
    """Return a page on which the question is answered."""
    page = browser.new_page(**options)  # type: ignore[arg-type]
    page.goto(url)
    page.get_by_role("textbox", name="Question").fill(QUESTION)
    page.keyboard.press("Enter")
    page.locator(".answer").wait_for(timeout=300_000)
    return page


def draw(page: Page, name: str) -> None:
    """Write a picture of what is in sight, in 128 colours: the page has few."""
    page.locator("body").evaluate("() => document.activeElement.blur()")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    path = Path(__file__).with_name(name)
    picture.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
