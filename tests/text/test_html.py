import pytest

from rag.text.html import read_html

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">
<title>Pumps</title><meta name="date" content="2024-03-01T10:00:00Z">
<script>var hidden = 1;</script></head><body>
<div class="menu"><ul><li><a href="/">Home</a><li><a href="/shop">Shop</a></ul></div>
<nav><a href="/a">Somewhere</a></nav>
<ul><li><a href="/x">First of the links</a></li><li><a href="/y">Second of the links</a></li></ul>
<h1>Pumps and how to mend them</h1>
<p>Contents</p><ul><li><a href="#leaks">Leaks</a></li></ul>
<p>A pump that leaks should be mended at once, since <b>water</b> ruins the
motor within days; see <a href="m.html">motors</a> for what follows from that.</p>
<h2 id="leaks">Leaks<a class="headerlink" href="#leaks">¶</a></h2>
<ol><li>Shut the valve before you open the pump, or the cellar will be flooded.
<li>Replace the seal with one of the same size as the one that you took out.</ol>
<dl><dt>seal</dt><dd>A ring of rubber that keeps the water in where the shaft goes out.</dd></dl>
<pre><code>if leaking:
    mend("pump")  # now
</code></pre>
<table><tr><th>Part</th><th>Price</th></tr><tr><td>Seal | ring</td><td>2</td></tr></table>
<p># is a sign that engineers put in front of the numbers of their parts lists.</p>
<p>This page was last modified on 2024-05-06 07:08:09 UTC</p>
<div class="footer">Copyright of the pump company, all of its rights reserved</div>
</body></html>"""


def test_a_page_becomes_markdown_of_its_main_text():
    content = read_html(PAGE.encode())
    assert content.title == "Pumps"
    assert content.metadata == {"format": "html", "language": "en", "date": "2024-03-01"}
    assert content.text == "\n\n".join(
        [
            "# Pumps and how to mend them",
            "Contents",
            (
                "A pump that leaks should be mended at once, since water ruins the motor within "
                "days; see motors for what follows from that."
            ),
            "## Leaks",
            (
                "1. Shut the valve before you open the pump, or the cellar will be flooded.\n"
                "2. Replace the seal with one of the same size as the one that you took out.\n"
                "seal\n: A ring of rubber that keeps the water in where the shaft goes out."
            ),
            '```\nif leaking:\n    mend("pump")  # now\n```',
            "| Part | Price |\n| --- | --- |\n| Seal \\| ring | 2 |",
            "\\# is a sign that engineers put in front of the numbers of their parts lists.",
        ]
    )


def test_the_date_of_the_last_change_stands_in_for_another():
    page = PAGE.replace('name="date"', 'name="other"')
    assert read_html(page.encode()).metadata["date"] == "2024-05-06"


def test_a_page_without_main_text_falls_back_to_what_it_shows():
    content = read_html(b"<body><nav>menu</nav><ul><li><a href='a'>A</a></ul><p>Bye</body>")
    assert content.text == "- A\n\nBye"
    assert content.metadata["extraction"] == "fallback"


def test_a_table_that_lays_out_the_page_is_no_table():
    page = "<table><tr><td><h1>Head</h1><p>Left</p></td><td><pre>code</pre></td></tr></table>"
    assert read_html(page.encode()).text == "# Head\n\nLeft\n\n```\ncode\n```"


@pytest.mark.parametrize(
    ("declaration", "encoding"),
    [
        ('<meta charset="windows-1252">', "cp1252"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1">', "latin-1"),
        ("", "utf-8"),
        ("", "utf-16"),
        ('<meta charset="no-such-encoding">', "utf-8"),
        ('<meta charset="utf-8">', "utf-8-sig"),
    ],
)
def test_declared_encodings(declaration, encoding):
    page = f"<html><head>{declaration}</head><body><p>Füße und Öl, ganz früh</p></body></html>"
    assert read_html(page.encode(encoding)).text == "Füße und Öl, ganz früh"


def test_xhtml_with_an_xml_declaration():
    page = (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml" '
        'xml:lang="de"><body><p>Grüße</p></body></html>'
    )
    content = read_html(page.encode())
    assert (content.text, content.metadata["language"]) == ("Grüße", "de")
