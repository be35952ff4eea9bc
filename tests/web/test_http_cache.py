import sqlite3
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.errors import StorageError
from rag.web.freshness import Exchange
from rag.web.http_cache import HttpCache
from rag.web.replies import Reply

NOW = 1_800_000_000.0
URL = "http://example.org/"


def date(at: float) -> str:
    return formatdate(at, usegmt=True)


def exchange(
    headers: dict[str, str] | None = None,
    body: bytes = b"body",
    status: int = 200,
    url: str = URL,
    request: dict[str, str] | None = None,
) -> Exchange:
    return Exchange.of(url, Reply(status, headers or {}, body, "1.1.1.1"), request or {}, NOW, NOW)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"cache-control": "max-age=60"}, 60),
        ({"cache-control": 'private, MAX-AGE="60"'}, 60),
        ({"cache-control": "max-age=60, max-age=600"}, 60),
        ({"cache-control": "s-maxage=5, max-age=60"}, 60),
        ({"cache-control": "max-age=60", "age": "20"}, 40),
        ({"cache-control": "max-age=60", "date": date(NOW - 50)}, 10),
        ({"cache-control": "max-age=60", "date": date(NOW + 50)}, 60),
        ({"cache-control": "max-age=60", "expires": date(NOW)}, 60),
        ({"expires": date(NOW + 30), "date": date(NOW)}, 30),
        ({"last-modified": date(NOW - 1000), "date": date(NOW)}, 100),
        ({"last-modified": date(NOW - 10**8), "date": date(NOW)}, 24 * 3600),
        ({"cache-control": "max-age=" + "9" * 5000}, 2**31),
    ],
)
def test_how_long_an_answer_is_fresh(headers: dict[str, str], seconds: float) -> None:
    kept = exchange(headers)
    assert kept.is_fresh(NOW + seconds - 1)
    assert not kept.is_fresh(NOW + seconds)


def test_a_clock_that_is_set_back_makes_nothing_fresh_for_longer() -> None:
    kept = exchange({"cache-control": "max-age=60", "age": "60"})
    assert not kept.is_fresh(NOW - 1000)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"cache-control": "no-cache, max-age=60"},
        {"cache-control": "max-age=soon"},
        {"cache-control": "max-age=-1"},
        {"expires": "0"},
        {"expires": date(NOW - 1)},
        {"cache-control": "max-age=60", "age": "60"},
        {"last-modified": "yesterday"},
    ],
)
def test_what_is_never_fresh(headers: dict[str, str]) -> None:
    assert not exchange(headers).is_fresh(NOW)


@pytest.mark.parametrize(
    ("headers", "status", "may"),
    [
        ({"cache-control": "max-age=60"}, 200, True),
        ({"cache-control": "max-age=60"}, 301, True),
        ({"cache-control": "max-age=60"}, 302, False),
        ({"cache-control": "max-age=60"}, 404, False),
        ({"cache-control": "max-age=60, no-store"}, 200, False),
        ({"cache-control": "max-age=60", "vary": "*"}, 200, False),
        ({"cache-control": "max-age=60", "vary": "accept, *"}, 200, False),
        ({"etag": '"1"'}, 200, True),
        ({"cache-control": "no-cache", "etag": '"1"'}, 200, True),
        ({"last-modified": date(NOW)}, 200, True),
        ({}, 200, False),
    ],
)
def test_what_may_be_kept(headers: dict[str, str], status: int, may: bool) -> None:
    assert exchange(headers, status=status).may_be_kept == may


def test_answers_depend_on_what_vary_names() -> None:
    request = {"User-Agent": "a", "Accept": "text/html"}
    kept = exchange({"vary": "User-Agent,  Cookie"}, request=request)
    assert kept.answers(request)
    assert kept.answers({"user-agent": "a", "accept": "*/*"})
    assert not kept.answers({"User-Agent": "b", "Accept": "text/html"})
    assert not kept.answers({"Accept": "text/html"})


def test_a_confirmation_renews_the_headers_but_not_what_they_say_of_the_body() -> None:
    headers = {"content-type": "text/html", "etag": '"1"', "cache-control": "max-age=1", "age": "9"}
    headers["date"] = date(NOW)
    news = {"content-type": "x/y", "content-length": "0", "cache-control": "max-age=60"}
    kept = exchange(headers).confirmed(Reply(304, news, b"", "2.2.2.2"), NOW + 100, NOW + 101)
    assert kept.reply.body == b"body"
    assert kept.reply.headers == {
        "content-type": "text/html",
        "etag": '"1"',
        "cache-control": "max-age=60",
    }
    assert (kept.reply.status, kept.reply.address, kept.received) == (200, "1.1.1.1", NOW + 101)
    assert kept.is_fresh(NOW + 159)
    assert not kept.is_fresh(NOW + 161)


@given(st.text(), st.text(), st.text(), st.text())
def test_any_headers_are_understood_somehow(control: str, age: str, day: str, vary: str) -> None:
    headers = {
        "cache-control": control, "age": age, "date": day, "expires": day, "last-modified": day,
        "vary": vary,
    }  # fmt: skip
    kept = exchange(headers)
    assert kept.is_fresh(NOW) in (True, False)
    assert kept.may_be_kept in (True, False)
    assert kept.answers({})


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[HttpCache]:
    cache = HttpCache(tmp_path / "folder" / "pages.sqlite", 1000)
    yield cache
    cache.close()


def test_what_is_kept_is_found_again(cache: HttpCache, tmp_path: Path) -> None:
    kept = exchange({"etag": '"ü"', "set-cookie": "secret", "vary": "accept"}, b"\0\xff")
    assert "set-cookie" not in kept.reply.headers
    cache.keep(kept)
    cache.keep(exchange(url="http://example.org/2"))
    assert cache.find(URL) == kept
    again = HttpCache(tmp_path / "folder" / "pages.sqlite", 1000)
    assert again.find(URL) == kept
    again.drop(URL)
    again.close()
    assert cache.find(URL) is None


def test_what_was_not_used_for_longest_goes(cache: HttpCache) -> None:
    for number in range(4):
        cache.keep(exchange(body=b"x" * 240, url=f"{URL}{number}"))
    assert cache.find(f"{URL}0")
    cache.keep(exchange(body=b"x" * 240, url=f"{URL}4"))
    assert [number for number in range(5) if cache.find(f"{URL}{number}")] == [0, 2, 3, 4]
    cache.keep(exchange(body=b"x" * 1001, url=f"{URL}5"))
    assert not any(cache.find(f"{URL}{number}") for number in range(6))


def test_memory_serves_as_well() -> None:
    cache = HttpCache(None, 1000)
    cache.keep(exchange())
    assert cache.find(URL) == exchange()
    cache.close()


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path, content = tmp_path / "notes", b"my notes, which are no database at all" * 100
    path.write_bytes(content)
    with pytest.raises(StorageError, match="name another file"):
        HttpCache(path, 1000)
    assert path.read_bytes() == content


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.commit()
    connection.close()
    content = path.read_bytes()
    with pytest.raises(StorageError, match="something else"):
        HttpCache(path, 1000)
    assert path.read_bytes() == content


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        HttpCache(tmp_path, 1000)


@pytest.mark.parametrize("column", ["headers", "varied"])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, column: str) -> None:
    path = tmp_path / "pages.sqlite"
    cache = HttpCache(path, 1000)
    cache.keep(exchange())
    connection = sqlite3.connect(path)
    connection.execute(f"UPDATE answers SET {column} = '{{'")
    connection.commit()
    connection.close()
    assert cache.find(URL) is None
    cache.keep(exchange())
    assert cache.find(URL) == exchange()
    cache.close()


def test_a_file_whose_pages_are_damaged_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "pages.sqlite"
    cache = HttpCache(path, 10**6)
    for number in range(200):
        cache.keep(exchange(body=b"x" * 2000, url=f"{URL}{number}"))
    cache.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (size - 8192))
    cache = HttpCache(path, 10**6)
    assert all(cache.find(f"{URL}{number}") is None for number in range(200))
    cache.keep(exchange())
    assert cache.find(URL) == exchange()
    cache.close()
