import ssl
import subprocess
from functools import partial
from pathlib import Path

import pytest

from rag.web import connections
from tests.web.fetching import TEXT, Fetching, Names, answered, refused
from tests.web.servers import (
    Server,
    redirects,
    says,
)


@pytest.fixture
def fetching(fetching: Fetching) -> Fetching:
    return partial(fetching, respect_robots=False)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "LOCALHOST", "127.1", "127.0.1", "2130706433",
        "0x7f.1", "0x7f000001", "0177.1", "017700000001", "0", "0.0.0.0", "[::1]", "[::]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
    ],
)  # fmt: skip
def test_no_spelling_of_this_machine_is_contacted(
    server: Server, fetching: Fetching, host: str
) -> None:
    error = refused(fetching(allow=[]), server.at(host, "/page"))
    assert error.cause == "address"
    assert "`allow` it" in error.reason
    assert server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1./",
        "http://localhost./",
        "http://0177.0.0.1/",
        "http://127.0.0.1%00/",
        "http://[::1%251]/",
    ],
)
def test_other_spellings_lead_nowhere_either(fetching: Fetching, url: str) -> None:
    # With a dot at the end, some systems know a host and others do not.
    assert refused(fetching(allow=[]), url).cause in ("url", "unreachable", "address")


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/latest/",
        "http://10.0.0.1/",
        "//127.0.0.2/",
        "http://2852039166/",
    ],
)
def test_redirects_must_not_lead_to_special_addresses(
    server: Server, fetching: Fetching, target: str
) -> None:
    url = answered(server, redirects(target))
    error = refused(fetching(allow=["127.0.0.1"]), url)
    assert error.cause == "address"
    assert "it redirects to" in error.reason


def test_a_name_is_looked_up_once_and_what_was_checked_is_contacted(
    server: Server, fetching: Fetching, names: Names
) -> None:
    names.answers["rebind.example"] = [["127.0.0.1"], ["127.0.0.2"]]
    fetcher = fetching(allow=["127.0.0.1"])
    fetcher.fetch(server.at("rebind.example", "/page"))
    assert names.lookups == ["rebind.example"]
    assert server.requests[0].headers["host"] == f"rebind.example:{server.port}"
    error = refused(fetching(allow=["127.0.0.1"]), server.at("rebind.example", "/page"))
    assert error.cause == "address"
    assert "127.0.0.2" in error.reason
    assert len(server.requests) == 1


def test_a_name_that_turns_private_after_the_check_changes_nothing(
    server: Server, fetching: Fetching, names: Names
) -> None:
    # 192.0.2.1 leads nowhere; what matters is that nothing went to the second answer.
    names.answers["rebind.example"] = [["192.0.2.1"], ["127.0.0.1"]]
    fetcher = fetching(allow=["192.0.2.0/24"], timeout=0.3)
    error = refused(fetcher, server.at("rebind.example", "/page"))
    assert error.cause in ("timeout", "unreachable", "address")
    assert server.requests == []


def test_every_address_of_a_name_is_checked(
    server: Server, fetching: Fetching, names: Names
) -> None:
    names.answers["mixed.example"] = [["127.0.0.1", "10.0.0.1"]]
    error = refused(fetching(), server.at("mixed.example", "/page"))
    assert error.cause == "address"
    assert "10.0.0.1" in error.reason
    assert server.requests == []


def test_an_address_that_does_not_answer_is_passed_over(
    server: Server, fetching: Fetching, names: Names
) -> None:
    names.answers["two.example"] = [["127.0.0.3", "127.0.0.1"]]
    page = fetching().fetch(server.at("two.example", "/page"))
    assert (page.document.text, page.retries) == (TEXT, 0)


def test_a_host_may_be_allowed_by_name(server: Server, fetching: Fetching, names: Names) -> None:
    names.answers["wiki.internal"] = names.answers["other.internal"] = [["127.0.0.1"]]
    fetcher = fetching(allow=["wiki.internal"])
    assert fetcher.fetch(server.at("wiki.internal", "/page"))
    assert refused(fetcher, server.at("other.internal", "/page")).cause == "address"


def test_ipv6(fetching: Fetching) -> None:
    try:
        server = Server({"/page": says(TEXT)}, address="::1")
    except OSError:
        pytest.skip("no IPv6 here")
    url = server.at("[::1]", "/page")
    assert fetching(allow=["::1"]).fetch(url).document.text == TEXT
    assert server.requests[0].headers["host"] == f"[::1]:{server.port}"
    server.close()


def test_offline_leaves_this_machine(
    server: Server, fetching: Fetching, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_OFFLINE", "1")
    names.answers["example.org"] = [["93.184.215.14"]]
    fetcher = fetching()
    assert fetcher.fetch(f"{server.url}/page")
    error = refused(fetcher, "http://example.org/")
    assert error.cause == "offline"
    assert "RAG_OFFLINE" in error.reason
    assert names.lookups == []


def test_a_host_that_is_not_there(fetching: Fetching) -> None:
    error = refused(fetching(), "http://no-such-host.invalid/")
    assert error.cause == "unreachable"
    assert "not found" in error.reason


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
               "-nodes", "-days", "2", "-subj", "/CN=site.example",
               "-addext", "subjectAltName=DNS:site.example",
               "-keyout", str(key), "-out", str(cert)]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    return key, cert


def test_certificates_are_checked_for_the_name_and_not_the_address(
    fetching: Fetching,
    names: Names,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, cert = certificate
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    asked: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    server = Server({"/page": says(TEXT), "/down": redirects("http://site.example/")}, tls=tls)
    names.answers["site.example"] = names.answers["other.example"] = [["127.0.0.1"]]
    untrusting = refused(fetching(), server.at("site.example", "/page"))
    assert untrusting.cause == "unreachable"
    assert "self-signed certificate" in untrusting.reason
    trusting = ssl.create_default_context(cafile=str(cert))
    monkeypatch.setattr(connections, "_tls", lambda: trusting)
    fetcher = fetching()
    assert fetcher.fetch(server.at("site.example", "/page")).document.text == TEXT
    error = refused(fetcher, server.at("other.example", "/page"))
    assert error.cause == "unreachable"
    assert "other.example" in error.reason
    assert {"site.example", "other.example"} <= set(asked)
    down = refused(fetcher, server.at("site.example", "/down"))
    assert down.cause == "redirects"
    assert "from https to http://site.example/" in down.reason
    server.close()
