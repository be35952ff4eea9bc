import gzip
import io
import socket
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.errors import InputError
from rag.service.document_names import LONGEST, clean_name
from rag.service.multipart import MultipartBody, PartBegins, PartEnds
from tests.service.jobs import ended, names, until, upload, uploaded
from tests.service.running import RunningService
from tests.text.test_loading import make_docx
from tests.text.test_pdf import make_pdf

FORMATS = {
    "guide.pdf": make_pdf([["Pelicans fish."]]),
    "guide.docx": make_docx(),
    "guide.html": "<!DOCTYPE html><title>Birds</title><p>Herons wait.</p>",
    "guide.md": "# Gulls\n\nGulls shout.",
    "notes/guide.txt": "Terns dive.",
    "README": "Ducks paddle.",
}


def make_zip(name: str = "a.txt") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "text")
    return file.getvalue()


def make_tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return file.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def service(data: Path) -> Iterator[RunningService]:
    with RunningService(data) as running:
        for name in ("handbook", "formats", "parts"):
            running.client.post("/v1/collections", json={"name": name})
        yield running


@pytest.fixture
def client(service: RunningService) -> httpx2.Client:
    return service.client


def test_files_of_each_format_become_documents(client: httpx2.Client, data: Path) -> None:
    job = uploaded(client, FORMATS, "formats")
    assert (job["state"], job["refused"]) == ("done", [])
    assert (job["done"], job["total"], job["report"]["added"]) == (6, 6, 6)
    assert names(client, "formats") == list(FORMATS)
    show = client.get("/v1/collections/formats/document", params={"id": "notes/guide.txt"}).json()
    assert (show["text"], show["title"]) == ("Terns dive.", "guide")
    assert show["uri"] == "upload:notes/guide.txt"
    for name in FORMATS:
        show = client.get("/v1/collections/formats/document", params={"id": name}).json()
        assert str(data) not in str(show)
    assert list((data / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.zip", make_zip(), "unknown format '.zip'"),
        ("a.txt", make_zip(), "archive"),
        ("a.docx", make_zip(), "archive"),
        ("a", gzip.compress(b"text", mtime=0), "archive"),
        ("a.md", make_tar(), "archive"),
        ("a.txt", b"7z\xbc\xaf\x27\x1c rest", "archive"),
        ("a.txt", b"Rar!\x1a\x07\x00 rest", "archive"),
        ("a.txt", b"\xfd7zXZ\x00 rest", "archive"),
        ("a.txt", b"\x28\xb5\x2f\xfd rest", "archive"),
        ("a.txt", b"BZh91AY&SY rest", "archive"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\x00\x00", "binary"),
        ("a.pdf", b"not a PDF", "not a PDF"),
        ("a.txt", FORMATS["guide.pdf"], "it is a PDF file"),
        ("a.html", FORMATS["guide.docx"], "it is a DOCX file"),
        ("a.txt", FORMATS["guide.html"], "it is a HTML file"),
        ("a.exe", b"MZ", "unknown format '.exe'"),
        ("a.txt", b"", "empty"),
        ("../../etc/passwd", b"text", "the part '..'"),
        ("/etc/passwd", b"text", "the part ''"),
        ("a/./b.txt", b"text", "the part '.'"),
        ("a\u202etxt.exe", b"text", "not seen"),
        ("x" * 600 + ".txt", b"text", "longer than 512"),
    ],
)
def test_what_is_no_document_is_refused_with_the_reason(
    client: httpx2.Client, data: Path, name: str, content: bytes, reason: str
) -> None:
    jobs = client.get("/v1/jobs").json()
    reply = upload(client, {name: content})
    assert reply.status_code == 422
    assert reply.json()["error"]["code"] == "files_refused"
    assert reason in reply.json()["error"]["message"]
    assert list((data / "uploads").iterdir()) == []
    assert client.get("/v1/jobs").json() == jobs


def test_files_are_refused_one_by_one(client: httpx2.Client) -> None:
    job = uploaded(
        client, {"a.txt": "Terns dive.", "b.zip": "zip", "c.pdf": b"%PDF-1.4 broken"}, "parts"
    )
    assert job["state"] == "done"
    assert {each["name"]: each["reason"].split(":")[0] for each in job["refused"]} == {
        "b.zip": "unknown format '.zip'; there are .adoc .asciidoc .org .rst .text .txt .md "
        ".markdown .mdown .htm .html .xhtml .pdf .docx",
        "c.pdf": "broken PDF",
    }
    assert names(client, "parts") == ["a.txt"]


def test_names_are_sent_as_bytes_of_any_kind(client: httpx2.Client) -> None:
    def send(filename: bytes) -> httpx2.Response:
        body = (
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n\r\n'
            b"Terns dive.\r\n--x--\r\n" % filename
        )
        return client.post(
            "/v1/collections/handbook/documents",
            content=body,
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        )

    assert send(b"a\x00b.txt").status_code == 422
    assert send(b"\xff.txt").json()["error"]["code"] == "malformed_form"
    assert send(b"").status_code == 422
    for sent in (b"C:\\x\\y.txt", b"a\\b.txt", "cafe\u0301.txt".encode()):
        assert ended(client, send(sent).json()["id"])["report"]["added"] == 1
    assert {"y.txt", "a/b.txt", "caf\u00e9.txt"} <= set(names(client))


@given(st.text(st.characters(codec=None, categories=None)))
def test_a_name_is_clean_or_refused(name: str) -> None:
    try:
        cleaned = clean_name(name)
    except InputError:
        return
    assert clean_name(cleaned) == cleaned
    assert len(cleaned) <= LONGEST
    assert "Cc" not in map(unicodedata.category, cleaned)
    assert not Path(cleaned).is_absolute()
    assert ".." not in Path(cleaned).parts
    cleaned.encode()


@given(st.text(st.sampled_from("./\\ C:a\u202e\x00~"), max_size=12))
def test_no_name_is_a_path_out_of_a_folder(name: str) -> None:
    try:
        cleaned = clean_name(name)
    except InputError:
        return
    assert Path("/a/b", cleaned).resolve().is_relative_to("/a/b")


@given(st.lists(st.binary(max_size=60), max_size=4), st.integers(1, 50))
def test_a_body_is_taken_apart_however_it_comes(contents: list[bytes], size: int) -> None:
    parts = [
        b'--b\xc2\xa0x\r\nContent-Disposition: form-data; name="files"; filename="%d"\r\n\r\n%b\r\n'
        % (number, each.replace(b"--b", b""))
        for number, each in enumerate(contents)
    ]
    whole = b"".join(parts) + b"--b\xc2\xa0x--\r\n"
    body = MultipartBody('multipart/form-data; boundary="b\xc2\xa0x"')
    found: dict[str, bytes] = {}
    name = ""
    for start in range(0, len(whole), size):
        for piece in body.feed(whole[start : start + size]):
            match piece:
                case PartBegins(filename=str(name)):
                    found[name] = b""
                case bytes():
                    found[name] += piece
                case PartEnds():
                    pass
    body.finish()
    assert list(found.values()) == [each.replace(b"--b", b"") for each in contents]


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        ("application/json", b"{}", 415, "unsupported_media_type"),
        ("", b"", 415, "unsupported_media_type"),
        ("multipart/form-data", b"--x--", 422, "malformed_form"),
        ("multipart/form-data; boundary=" + "x" * 300, b"--x--", 422, "malformed_form"),
        ("multipart/form-data; boundary=x", b"nothing", 422, "malformed_form"),
        ("multipart/form-data; boundary=x", b"", 422, "malformed_form"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 422, "no_files"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\na\r\n--x--\r\n',
            422,
            "malformed_form",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\ncut',
            422,
            "malformed_form",
        ),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\n" + b"X-Long: " + b"y" * 100_000,
            422,
            "malformed_form",
        ),
    ],
)
def test_malformed_forms_are_refused(
    client: httpx2.Client, data: Path, kind: str, body: bytes, status: int, code: str
) -> None:
    reply = client.post(
        "/v1/collections/handbook/documents", content=body, headers={"Content-Type": kind}
    )
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert list((data / "uploads").iterdir()) == []


def test_limits(tmp_path: Path) -> None:
    limits = {
        "file_bytes": 1000,
        "upload_bytes": 4000,
        "upload_files": 3,
        "stored_bytes": 1500,
        "body_bytes": 300,
    }
    with RunningService(tmp_path, limits=limits) as running:
        client = running.client
        client.post("/v1/collections", json={"name": "handbook"})
        job = uploaded(client, {"a.txt": "a " * 501, "b.txt": "b " * 500})
        assert [each["name"] for each in job["refused"]] == ["a.txt"]
        assert "larger than 1,000 bytes" in job["refused"][0]["reason"]
        for files, status, code in (
            ({"a.txt": "a " * 2000}, 413, "too_large"),
            ({f"{n}.txt": "a" for n in range(4)}, 413, "too_many_files"),
            ({f"{n}.txt": "a " * 300 for n in range(3)}, 507, "uploads_full"),
        ):
            reply = upload(client, files)
            assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
        assert uploaded(client, {"c.txt": "c " * 500})["report"]["added"] == 1
        assert list((tmp_path / "uploads").iterdir()) == []


def test_what_a_kill_left_of_an_upload_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "uploads" / "0123"
    left.mkdir(parents=True)
    (left / "0").write_text("half")
    with RunningService(tmp_path):
        assert not left.exists()


def test_an_upload_that_breaks_off_leaves_nothing(service: RunningService, data: Path) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/collections/handbook/documents HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\ncut'
        )
        until(lambda: any((data / "uploads").iterdir()))
    until(lambda: not any((data / "uploads").iterdir()))
