"""The page in a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from rag.testing import ScriptedLLM
from tests.service.jobs import uploaded
from tests.service.page.visits import ANSWER, DOCUMENTS, Visit
from tests.service.running import RunningService

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


# Closed after the last test of this folder: while Playwright runs, so does an event loop in this
# thread, and other tests start their own.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A Chromium of this machine."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        missing = f"the page is tested in a browser, and there is none of {', '.join(_BROWSERS)}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A visitor, who in the end has met no error of the page and no request to elsewhere.

    Tests name a service of their own before it, so that the visit ends while the service runs.
    """
    with Visit(browser) as visit:
        yield visit


@pytest.fixture
def page(visit: Visit) -> Page:
    """The page that the visitor looks at."""
    return visit.page


@pytest.fixture(scope="package")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    data = tmp_path_factory.mktemp("handbook")
    with RunningService(data, llm=ScriptedLLM(lambda _: ANSWER)) as service:
        service.client.post("/v1/collections", json={"name": "handbook"})
        uploaded(service.client, DOCUMENTS)
        yield service


@pytest.fixture
def handbook(_served: RunningService) -> RunningService:
    """A service with a collection 'handbook', which tests leave as it is."""
    return _served


@pytest.fixture
def own_handbook(running: RunningService) -> RunningService:
    """A service with a collection 'handbook' that the test may change."""
    running.client.post("/v1/collections", json={"name": "handbook"})
    uploaded(running.client, DOCUMENTS)
    return running


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """A file to upload."""
    path = tmp_path / "parking.md"
    path.write_text("# Parking\n\nBicycles are parked behind the lighthouse.\n")
    return path
