import unicodedata
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.web.engines.results import Entry, iso_date, plain_text, ranked


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("The <strong>heron</strong> &amp; the <B>otter</B>", "The heron & the otter"),
        ('<span class="x">a</span> <br/>b', "a b"),
        ("use the &lt;b&gt; tag", "use the <b> tag"),
        ("std::vector<int> a < b > c", "std::vector<int> a < b > c"),
        ("<blink>", "<blink>"),
        ("zero\u200bwidth \u202eright\u202c so\u00adft \ufeff", "zerowidth right soft"),
        ("tag \U000e0041\U000e0042 characters \x00\x07\x1b[0m", "tag characters [0m"),
        ("half \ud800 pair", "half pair"),
        (" many\n\n lines\t\xa0of &nbsp; space ", "many lines of space"),
        ("e\u0301 鷺 🦦", "e\u0301 鷺 🦦"),
    ],
)
def test_plain_text(given_text: str, expected: str) -> None:
    assert plain_text(given_text) == expected


@given(st.text(st.characters() | st.sampled_from("<>/&;b \u200b\u202e\ud800"), max_size=60))
def test_plain_text_has_nothing_unseen(text: str) -> None:
    plain = plain_text(text)
    assert not {unicodedata.category(each) for each in plain} & {"Cc", "Cf", "Cs"}
    assert plain == " ".join(plain.split())
    plain.encode()


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-03",
        "2026-01-03T23:59:59Z",
        "2026-01-03 10:00:00+0000",
        "Jan 3, 2026",
        "jan. 3, 2026",
        "January  03, 2026",
        "3 Jan 2026",
        "3 January, 2026",
        "Sat, 03 Jan 2026 10:00:00 GMT",
    ],
)
def test_dates(text: str) -> None:
    assert iso_date(text) == "2026-01-03"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3 days ago",
        "yesterday",
        "01/03/2026",
        "2026",
        "Jan 2026",
        "3 janvier 2026",
        "Ju 3, 2026",
        "Marble 3, 2026",
        "2026-13-01",
        "2026-02-30",
        "Feb 30, 2026",
        "2026-01-031",
        "3 heron 2026",
        "2026-01-02-03",
    ],
)
def test_dates_that_are_not_certain(text: str) -> None:
    assert iso_date(text) == ""


@given(st.dates(), st.sampled_from(["%Y-%m-%d", "%Y-%m-%dT00:00:00", "%d %B %Y", "%b %d, %Y"]))
def test_every_date_is_read(day: date, form: str) -> None:
    assert iso_date(day.strftime(form).replace("%Y", f"{day.year:04d}")) in (
        day.isoformat(),
        "" if day.year < 1000 else day.isoformat(),
    )


@given(st.text(max_size=40))
def test_whatever_is_read_is_a_date(text: str) -> None:
    read = iso_date(text)
    assert read == "" or date.fromisoformat(read).isoformat() == read


def test_only_pages_of_the_web_once_each() -> None:
    urls = [
        "https://a.example/x",
        "ftp://a.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "//a.example",
        "/relative",
        "",
        "http://",
        "http://[::1",
        "https://a.example/x y",
        "https://a.example/\u200bx",
        " https://a.example/x ",
        "http://b.example",
        "HTTPS://C.example",
    ]
    found = ranked([Entry(url, url, "") for url in urls], "e", 9)
    assert [each.url for each in found] == [urls[0], "http://b.example", "HTTPS://C.example"]
    assert [each.rank for each in found] == [1, 2, 3]
    assert found[0].title == urls[0]


def test_count_cuts_what_is_left() -> None:
    entries = [Entry("ftp://a", "", ""), *(Entry(f"http://a/{n}", "", "") for n in range(5))]
    assert [each.url for each in ranked(entries, "e", 2)] == ["http://a/0", "http://a/1"]


@pytest.mark.parametrize("field", ["url", "title", "snippet", "date"])
def test_an_entry_is_text(field: str) -> None:
    fields: dict[str, object] = {"url": "", "title": "", "snippet": "", field: 3}
    with pytest.raises(TypeError, match="3 is no text"):
        Entry(**fields)  # type: ignore[arg-type]
