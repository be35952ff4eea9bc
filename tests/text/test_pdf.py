from pathlib import Path

import pytest

from rag.core.errors import LoadError
from rag.text import load


def make_pdf(pages, title="The book"):
    """Write a PDF by hand: a list of lines for each page."""
    streams = []
    for rows in pages:
        shown = " ".join(f"({row}) Tj 0 -20 Td" for row in rows)
        streams.append(f"BT /F 12 Tf 50 700 Td {shown} ET".encode())
    count = len(pages)
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(count))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, stream in enumerate(streams):
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents %d 0 R "
            b"/Resources << /Font << /F 3 0 R >> >> >>" % (5 + 2 * i),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        ]
    objects.append(f"<< /Title ({title}) /CreationDate (D:20240506070809Z) >>".encode())
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return data + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\n"
        b"startxref\n%d\n%%%%EOF" % (size, table, size, size - 1, len(data))
    )


def test_text_title_pages_and_date(tmp_path):
    path = tmp_path / "book.pdf"
    path.write_bytes(make_pdf([["First page."], [], ["Third page."]]))
    document = load(path)
    assert document.text == "First page.\n\nThird page."
    assert document.title == "The book"
    assert document.metadata == {
        "format": "pdf",
        "pages": 3,
        "pages_without_text": 1,
        "date": "2024-05-06",
    }


def test_running_heads_page_numbers_and_dot_leaders_go(tmp_path):
    path = tmp_path / "book.pdf"
    pages = [["The book, 2nd edition", f"Text {i} . . . . . . . 7", f"{i}"] for i in range(4)]
    path.write_bytes(make_pdf(pages))
    assert load(path).text == "\n\n".join(f"Text {i} … 7" for i in range(4))


def test_pages_without_a_text_layer(tmp_path):
    path = tmp_path / "scan.pdf"
    path.write_bytes(make_pdf([[], []]))
    with pytest.raises(LoadError, match="none of the 2 pages has a text layer"):
        load(path)


def test_a_password_protected_file():
    with pytest.raises(LoadError, match="needs a password"):
        load(Path(__file__).parent / "data" / "encrypted.pdf")


def test_a_suffix_that_lies(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes(make_pdf([["Some text."]]))
    assert load(path).metadata["format"] == "pdf"
