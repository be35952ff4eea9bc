import re
from importlib.resources import files

import pytest

from tests.service.running import RunningService

FILES = sorted(each.name for each in (files("rag.service") / "page").iterdir())


def test_the_page_may_run_nothing_but_its_own_files(running: RunningService) -> None:
    reply = running.client.get("/")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", reply.text)


@pytest.mark.parametrize("name", FILES)
def test_its_files_are_sent_once(running: RunningService, name: str) -> None:
    path = f"/static/{name}"
    reply = running.client.get(path)
    assert reply.content == (files("rag.service") / "page" / name).read_bytes()
    assert reply.headers["content-type"].startswith(("text/", "image/svg+xml"))
    assert reply.headers["x-content-type-options"] == "nosniff"
    again = running.client.get(path, headers={"If-None-Match": reply.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["app.py", "..%2fapp.py", "%2e%2e/app.py", "app.js%00", ".", ""])
def test_no_other_file_is_sent(running: RunningService, name: str) -> None:
    assert running.client.get(f"/static/{name}").status_code == 404


def test_modules_are_all_named_beforehand(running: RunningService) -> None:
    named = re.findall(r'(?:href|src)="/static/([^"]+\.js)"', running.client.get("/").text)
    assert sorted(named) == [name for name in FILES if name.endswith(".js")]


def test_the_page_has_nothing_of_elsewhere() -> None:
    for name in FILES:
        text = (files("rag.service") / "page" / name).read_text()
        addresses = set(re.findall(r"https?://[\w./-]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
