import io
import zipfile

import docx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.errors import LoadError, MissingExtra
from rag.text import load
from rag.text.content import normalize
from rag.text.loading import check_format


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_a_document_says_where_it_is_from(tmp_path):
    path = write(tmp_path, "notes.txt", "Some notes.\r\nMore\x00.\rEnd")
    with pytest.raises(LoadError, match="binary"):
        load(path)
    path = write(tmp_path, "notes.txt", "Some notes.\r\nMore.\rEnd\x07")
    document = load(path, document_id="n")
    assert document.text == "Some notes.\nMore.\nEnd"
    assert (document.id, document.title) == ("n", "notes")
    assert document.uri == path.as_uri()
    assert document.metadata == {"format": "text"}
    assert load(path).id == path.as_posix()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1251"])
def test_encodings(tmp_path, encoding):
    text = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 5
    assert load(write(tmp_path, "a.txt", text.encode(encoding))).text == text


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d", "binary"),
        ("a.txt", b" \n\t\xef\xbb\xbf"[:3], "no text"),
        ("a.html", "<html><script>x()</script></html>", "no text"),
        ("a.txt", b"\xd3\x07\x81\x02\xff\x13\x9c\xe6" * 9, "binary"),
        ("a.txt", b"\x1f\x8b\x08 rest", "archive"),
        ("a.md", b"Rar!\x1a\x07 rest", "archive"),
        ("a", b"a.txt".ljust(257, b"\0") + b"ustar", "archive"),
        ("a.pdf", "not a PDF", "not a PDF"),
        ("a.pdf", b"%PDF-1.7\nbroken", "broken PDF"),
        ("a.docx", "not a DOCX", "not a DOCX"),
        ("a.docx", b"PK\x03\x04 cut short", "broken"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest", "password-protected or pre-2007"),
        ("a.html", "<div>" * 5000 + "deep", "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_reason(tmp_path, name, data, reason):
    path = write(tmp_path, name, data)
    with pytest.raises(LoadError, match=reason) as caught:
        load(path)
    assert caught.value.uri == str(path)


@pytest.mark.parametrize("text", ["BZh9 is how bzip2 begins", "7zip", "Rar! it said", "LZIP"])
def test_text_that_begins_like_an_archive_is_text(tmp_path, text):
    assert load(write(tmp_path, "a.txt", text)).text == text


def test_old_text_files_end_with_a_mark(tmp_path):
    assert load(write(tmp_path, "a.txt", "Grüße aus Köln, schöne\x1a".encode("cp850")))


def test_a_file_can_have_another_name_than_its_path(tmp_path):
    path = write(tmp_path, "0", "---\ntags: [a]\n---\nSome notes.")
    document = load(path, document_id="n", name="notes/guide.md")
    assert document.title == "guide"
    assert document.metadata == {"format": "markdown", "tags": ["a"]}
    assert load(path).metadata == {"format": "text"}


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", "text", None),
        ("a.md", "text", None),
        ("a", "<html>", None),
        ("a.html", "text", None),
        ("a.txt", "text".encode("utf-16"), None),
        ("a.xls", "text", "unknown format '.xls'"),
        ("a.txt", "<!DOCTYPE html><p>", "named '.txt', but it is a HTML file"),
        ("a.md", b"%PDF-1.7", "named '.md', but it is a PDF file"),
        ("a.html", b"\x00\x01", "binary"),
        ("a.docx", "text", "not a DOCX"),
    ],
)
def test_content_has_to_be_what_the_name_says(tmp_path, name, data, reason):
    path = write(tmp_path, "0", data)
    if reason is None:
        check_format(path, name)
    else:
        with pytest.raises(LoadError, match=reason):
            check_format(path, name)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(LoadError, match="No such file"):
        load(tmp_path / "none.txt")
    with pytest.raises(LoadError, match="not a regular file"):
        load(tmp_path)


def test_a_file_over_the_limit_is_not_read(tmp_path):
    path = write(tmp_path, "a.txt", "x" * 101)
    assert load(path, max_bytes=101).text
    with pytest.raises(LoadError, match="larger than the limit of 100 bytes"):
        load(path, max_bytes=100)


@pytest.mark.parametrize("name", ["page.txt", "page", "page.html"])
def test_html_is_known_by_its_content(tmp_path, name):
    document = load(write(tmp_path, name, "<!DOCTYPE html><title>T</title><p>Text</p>"))
    assert (document.text, document.metadata["format"]) == ("Text", "html")


def make_docx():
    document = docx.Document()
    document.core_properties.title = "The guide"
    document.core_properties.language = "en-GB"
    document.add_heading("Setup", 1)
    document.add_paragraph("Install it.")
    document.add_paragraph("One", style="List Bullet")
    document.add_paragraph("Two", style="List Bullet")
    table = document.add_table(2, 2)
    for number, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"c{number}"
    document.add_paragraph("# no heading")
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


@pytest.mark.parametrize("name", ["a.docx", "a.txt"])
def test_docx(tmp_path, name):
    document = load(write(tmp_path, name, make_docx()))
    assert document.title == "The guide"
    assert document.text == (
        "# Setup\n\nInstall it.\n\n- One\n- Two\n\n"
        "| c0 | c1 |\n| --- | --- |\n| c2 | c3 |\n\n\\# no heading"
    )
    assert document.metadata["format"] == "docx"
    assert document.metadata["language"] == "en-GB"


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    data = make_docx()
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/media/zeros", bytes(10_000_000))
    path = write(tmp_path, "bomb.docx", file.getvalue())
    assert path.stat().st_size < 1_000_000
    with pytest.raises(LoadError, match="unpacks to"):
        load(path, max_bytes=1_000_000)


def test_another_archive_is_no_docx(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
    with pytest.raises(LoadError, match="no DOCX"):
        load(write(tmp_path, "a.epub", file.getvalue()))


def test_a_missing_package_names_its_extra(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "docx", None)
    with pytest.raises(MissingExtra, match=r"ragmeter\[docx\]"):
        load(write(tmp_path, "a.docx", make_docx()))


@given(st.text(st.characters(codec=None, categories=None)))
def test_normalised_text_can_be_stored_and_stays(text):
    once = normalize(text)
    once.encode("utf-8")
    assert "\r" not in once
    assert "\0" not in once
    assert normalize(once) == once
