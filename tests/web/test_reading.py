"""Bytes from the web to documents, or to the reason why there is none."""

import io

import docx
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from rag.core.errors import FetchFailed
from rag.core.sensitivity import PUBLIC, sensitivity_of
from rag.core.web import Link
from rag.text import Splitter
from rag.text.content import normalize
from rag.web.reading import read_page
from tests.text.conftest import words
from tests.text.test_pdf import make_pdf

URL = "https://docs.example.com/pumps/mend.html"
NOW = "2026-01-02T03:04:05Z"
FIRST = "A pump that leaks should be mended at once, since water ruins the motor within days."
LAST = "Shut the valve before you open the pump, or the cellar will be flooded in no time."
JSON_LD = """<script type="application/ld+json">{"datePublished" : "2024-05-06T07:08"}</script>"""
PAGE = f"""<!doctype html><html lang="de-AT"><head><title>Mending
 pumps</title><meta property="article:published_time" content="2024-03-01T10:00:00Z"></head><body>
<nav><a href="/shop">Shop</a></nav><h1>Pumps</h1>
<p>{FIRST} See <a href="motors.html">motors</a>.</p>
<ul><li><a href="/valves?x=1#how">valves</a></li></ul><p>{LAST}</p></body></html>"""


def read(data, content_type="text/html", url=URL):
    data = data.encode() if isinstance(data, str) else data
    return read_page(data, url=url, content_type=content_type, retrieved=NOW)


def text_of(data, content_type="text/html", url=URL):
    return read(data, content_type, url)[0].text


def cause(data, content_type="text/html"):
    with pytest.raises(FetchFailed) as failed:
        read(data, content_type)
    assert failed.value.url == URL
    return failed.value.cause


def test_a_page_becomes_a_document_and_its_links():
    document, links = read(PAGE, "text/html; charset=utf-8")
    assert (document.id, document.uri, document.title) == (URL, URL, "Mending pumps")
    assert document.text == f"# Pumps\n\n{FIRST} See motors.\n\n- valves\n\n{LAST}"
    assert document.metadata == {
        "format": "html",
        "language": "de-AT",
        "date": "2024-03-01",
        "sensitivity": "public",
        "retrieved": NOW,
        "host": "docs.example.com",
    }
    assert sensitivity_of(document.metadata) == PUBLIC
    assert links == (
        Link("https://docs.example.com/pumps/motors.html", "motors"),
        Link("https://docs.example.com/valves?x=1", "valves"),
    )


def test_passages_point_into_the_text():
    document, _ = read(PAGE.replace(FIRST, f"{FIRST} Zu\u0308ge\r\nA\u200b\u00adB " * 40))
    assert "Züge AB" in document.text
    (passages,) = Splitter(words, 64).split([document])
    assert len(passages) > 3
    assert all(document.text[each.start : each.end] == each.text for each in passages)
    assert all(each.sensitivity == PUBLIC for each in passages)


@pytest.mark.parametrize(
    ("markup", "urls"),
    [
        ("<a href='b'>b</a>", ["https://docs.example.com/pumps/b"]),
        ("<base href='/x/'><a href='b'>b</a>", ["https://docs.example.com/x/b"]),
        ("<base href='http://['><a href='b'>b</a>", ["https://docs.example.com/pumps/b"]),
        ("<a href='//other.org'>b</a>", ["https://other.org"]),
        ("<a href=' HTTP://a.org/\nc d '>b</a>", ["http://a.org/c%20d"]),
        ("<a href='#part'>b</a> <a href='mend.html#part'>b</a> <a href=''>b</a>", []),
        ("<a href='javascript:x()'>b</a> <a href='mailto:a@b.c'>b</a> <a>b</a>", []),
        ("<a href='http://['>b</a> <a href='http://'>b</a>", []),
        ("<a href='b' hidden>b</a> <a href='c' style='display:none'>c</a>", []),
        ("<a href='b'>b</a> <a href='b#c'>c</a>", ["https://docs.example.com/pumps/b"]),
        ("<h2><a href='b'>b</a></h2>", ["https://docs.example.com/pumps/b"]),
        ("<a href='b'><p>b</p></a>", ["https://docs.example.com/pumps/b"]),
        (
            "<table><tr><td><a href='b'>b</a><td><a href='c'>c</a></table>",
            ["https://docs.example.com/pumps/b", "https://docs.example.com/pumps/c"],
        ),
    ],
)
def test_links(markup, urls):
    _, links = read(f"<p>{FIRST}</p> {markup} <p>{LAST}</p>")
    assert [link.url for link in links] == urls


def test_a_link_has_the_first_text_that_any_to_it_has():
    markup = "<a href='/b'><img src='b.png'></a> <a href='/b'>the <b>best</b>\npumps</a>"
    _, links = read(f"<p>{FIRST}</p><p>{markup}</p><p>{LAST}</p>")
    assert links == (Link("https://docs.example.com/b", "the best pumps"),)


def test_a_headline_that_the_page_repeats_does_not_draw_in_what_lies_between():
    headline = "How to mend a pump that leaks from its shaft"
    page = f"""<p>{headline}</p><ul><li><a href="/">All that is new about pumps</a></li></ul>
    <article><h1>{headline}</h1><p>{FIRST}</p><p>{LAST}</p></article>
    <div class="related"><p>Other things of no concern at all</p><p>{headline}</p></div>"""
    assert text_of(page) == f"# {headline}\n\n{FIRST}\n\n{LAST}"


def test_short_blocks_and_announced_lists_belong_to_the_end():
    entries = "".join(f"<li><a href='/{name}'>{name}</a></li>" for name in ("valves", "seals"))
    page = f"""<h1>Pumps</h1><p>{FIRST}</p><p>{LAST}</p><p>That is all.</p><p>See also:</p>
    <ul>{entries}</ul><div class="footer">All rights are reserved by the pump company</div>"""
    expected = f"# Pumps\n\n{FIRST}\n\n{LAST}\n\nThat is all.\n\nSee also:\n\n- valves\n- seals"
    assert text_of(page) == expected


def test_a_heading_that_is_never_closed_is_no_heading():
    page = f"<h2><div>{FIRST}</div>{f'<div>{LAST}</div>' * 6}"
    assert text_of(page) == "\n\n".join([FIRST, *[LAST] * 6])


def test_lines_of_code_and_headings_end_at_line_breaks():
    page = f"<h1>Big<br>pumps</h1><p>{FIRST}</p><pre>a = 1<br>b = <span>2</span></pre><p>{LAST}</p>"
    assert text_of(page) == f"# Big pumps\n\n{FIRST}\n\n```\na = 1\nb = 2\n```\n\n{LAST}"


@pytest.mark.parametrize(
    ("stated", "date"),
    [
        ('<meta itemprop="datePublished" content="2024-05-06">', "2024-05-06"),
        ('<meta name="citation_publication_date" content="2024/05/06">', "2024-05-06"),
        ('<meta property="og:updated_time" content="2024-05-06T00:00Z">', "2024-05-06"),
        (f'<meta name="dcterms.modified" content="2025-01-01">{JSON_LD}', "2024-05-06"),
        ('<article><time datetime="2024-05-06T07:08">May</time></article>', "2024-05-06"),
        (
            '<meta name="date" content="May 6"><script>{"datePublished": "2024-05-06"}</script>',
            None,
        ),
        ('<meta name="date" content="2024-13-06">', None),
    ],
)
def test_the_date(stated, date):
    document, _ = read(f"{stated}<p>{FIRST}</p>")
    assert document.metadata.get("date") == date


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/octet-stream", "image/png"]
)
def test_markup_is_markup_whatever_it_is_called(content_type):
    assert text_of(f"\ufeff<!-- x -->\n{PAGE}", content_type).startswith("# Pumps")
    assert text_of(PAGE.encode("utf-16"), content_type).startswith("# Pumps")


@pytest.mark.parametrize(
    ("content_type", "url", "found"),
    [
        ("text/plain; charset=UTF-8", URL, "text"),
        ("", URL, "text"),
        ("text/x-rst", URL, "text"),
        ("text/markdown", URL, "markdown"),
        ("text/plain", "https://raw.example.com/README.md", "markdown"),
    ],
)
def test_text(content_type, url, found):
    document, links = read(f"# Pümps\r\n\r\n{FIRST}\u200b\n", content_type, url)
    assert document.text == f"# Pümps\n\n{FIRST}\n"
    assert (document.metadata["format"], links) == (found, ())
    titles = {"markdown": "Pümps", "text": "mend.html"}
    assert document.title == titles[found]


@pytest.mark.parametrize("content_type", ["application/pdf", "text/html", ""])
def test_pdf(content_type):
    document, _ = read(make_pdf([[FIRST], ["Two"]]), content_type)
    assert FIRST in document.text
    assert (document.title, document.metadata["format"]) == ("The book", "pdf")
    assert (document.metadata["date"], document.metadata["pages"]) == ("2024-05-06", 2)


def test_docx():
    written, data = docx.Document(), io.BytesIO()
    written.add_heading("Pumps", 1)
    written.add_paragraph(FIRST)
    written.save(data)
    assert text_of(data.getvalue(), "application/octet-stream") == f"# Pumps\n\n{FIRST}"


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "image/png"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "text/html"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", ""),
        (b'{"a": 1}', "application/json"),
        (b"<?xml version='1.0'?><rss></rss>", "application/rss+xml"),
        (b"PK\x03\x04 an archive", "application/zip"),
        (b"%!PS no PDF", "application/pdf"),
        (b"RIFF", "audio/wav; charset=utf-8"),
    ],
)
def test_what_is_not_read(data, content_type):
    assert cause(data, content_type) == "content_type"


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"", "text/html"),
        (b" \r\n", "text/plain"),
        (b"<!doctype html><div id=app></div><script>start()</script>", "text/html"),
        (b"<html><body><p hidden>text</p>", "text/html"),
        (b"<p>text</p>" + b"<div>" * 5000 + b"text", "text/html"),
        (b"<i>text" * 5000, "text/html"),
        (b"%PDF-1.4 broken", "application/pdf"),
        (b"PK\x03\x04 word/document.xml", "application/octet-stream"),
    ],
)
def test_what_has_no_text(data, content_type):
    assert cause(data, content_type) == "unreadable"


def test_elements_that_are_never_closed_are_read():
    assert text_of("<font><b>" * 600 + FIRST) == FIRST


@settings(deadline=None, max_examples=150)
@given(
    st.one_of(st.binary(), st.text().map(str.encode), st.binary().map(b"<!doctype html>".__add__)),
    st.sampled_from(["", "text/html", "text/plain", "text/markdown", "application/pdf", "x"]),
    st.sampled_from(["", "; charset=utf-8", '; charset="utf-16"', "; charset=?"]),
)
def test_any_bytes_are_read_or_refused(data, media, charset):
    try:
        document, links = read(data, media + charset)
    except FetchFailed:  # and nothing else
        event("refused")
    else:
        assert document.text == normalize(document.text)
        assert document.text.strip()
        assert document.title
        assert len({link.url for link in links}) == len(links)


TAGS = st.sampled_from(
    "p div span ul ol li dl dt dd h1 h3 table tr td pre a b em section article blockquote center "
    "font details body html form".split()
)
MARKS = st.sampled_from(
    [
        "hidden",
        'aria-hidden="true"',
        'style="display:none"',
        "style='opacity: 0'",
        "style=font-size:0",
    ]
)
SHOWN = st.text(st.characters(codec="utf-8", exclude_characters="<&"), max_size=30)


@st.composite
def pages(draw, depth=4):
    """Write markup in which what is hidden says 'Secret'."""
    parts = [draw(SHOWN).replace("Secret", "")]
    for _ in range(draw(st.integers(0, 3)) if depth else 0):
        tag, inside = draw(TAGS), draw(pages(depth - 1))
        parts += [f"<{tag}>{inside}</{tag}>", draw(SHOWN).replace("Secret", "")]
        if draw(st.booleans()):
            mark = draw(MARKS)
            parts.append(f"<div {mark}>Secret <b>Secret</b><p>Secret</p> Secret</div>{FIRST}")
            parts.append(draw(st.sampled_from(["", "<!-- Secret -->", "<script>Secret</script>"])))
    return "".join(parts)


@settings(deadline=None, max_examples=100)
@given(pages())
def test_nothing_hidden_is_ever_read(markup):
    try:
        document, links = read(f"<!doctype html><title>Page</title>{markup}")
    except FetchFailed:
        event("no text")
    else:
        assert "Secret" not in document.text
        assert "Secret" not in document.title
        assert "Secret" not in str(links)
