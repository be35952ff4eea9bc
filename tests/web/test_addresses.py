from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag.core.errors import InputError
from rag.web.addresses import Guard, check_online, parse_url
from rag.web.failures import Failure

PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
SPECIAL = """
    0.0.0.0 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16
    169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1
    198.18.0.1 198.51.100.1 203.0.113.5 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255
    :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
    64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 2001:0:7f00:1:: 2001:db8::1
    2002:7f00:1:: 2002:808:808:: 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0
    fec0::1 ff02::1 ff0e::1
""".split()


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_contacted(address: str) -> None:
    Guard().check("example.org", address)


@pytest.mark.parametrize("address", SPECIAL)
def test_special_addresses_may_not(address: str) -> None:
    with pytest.raises(Failure, match="not a public address") as caught:
        Guard().check("example.org", address)
    assert caught.value.cause == "address"


@given(st.ip_addresses(v=4))
def test_ipv6_spellings_are_judged_as_the_address_they_lead_to(address: object) -> None:
    guard = Guard()
    public = guard.permits("x", str(address))
    assert guard.permits("x", f"::ffff:{address}") == public
    assert guard.permits("x", f"64:ff9b::{address}") == public
    assert not guard.permits("x", f"::{address}")


@pytest.mark.parametrize(
    ("allow", "host", "address", "permitted"),
    [
        ("127.0.0.0/8", "localhost", "127.0.0.1", True),
        ("127.0.0.0/8", "localhost", "::ffff:127.0.0.1", True),
        ("127.0.0.0/8", "localhost", "::1", False),
        ("127.0.0.0/8", "x", "10.0.0.1", False),
        ("10.1.2.3", "x", "10.1.2.3", True),
        ("10.1.2.3", "x", "10.1.2.4", False),
        ("fd00::/8", "x", "fd12::1", True),
        ("wiki.internal", "wiki.internal", "10.0.0.1", True),
        ("Wiki.Internal.", "wiki.internal.", "10.0.0.1", True),
        ("wiki.internal", "evil.wiki.internal", "10.0.0.1", False),
    ],
)
def test_allow_opens_what_it_names_and_no_more(
    allow: str, host: str, address: str, permitted: bool
) -> None:
    assert Guard([allow]).permits(host, address) == permitted


@pytest.mark.parametrize("allow", ["10.0.0.1/8", "http://wiki", "*", "", "a b"])
def test_allow_refuses_what_it_does_not_understand(allow: str) -> None:
    with pytest.raises(InputError, match="allow"):
        Guard([allow])


def test_allow_is_a_list() -> None:
    with pytest.raises(InputError, match=r"\['10.0.0.0/8'\]"):
        Guard("10.0.0.0/8")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("HTTP://EXAMPLE.org", "http://example.org"),
        (" https://example.org:443/a b#c ", "https://example.org/a%20b"),
        ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
        ("http://example.org:8080/", "http://example.org:8080/"),
        ("http://[2606:4700::1111]/", "http://[2606:4700::1111]/"),
    ],
)
def test_urls_have_one_spelling(text: str, parsed: str) -> None:
    assert str(parse_url(text)) == parsed


def test_relative_urls_need_a_base() -> None:
    base = parse_url("https://example.org/a/b")
    assert str(parse_url("../c", base)) == "https://example.org/c"
    assert str(parse_url("//example.net", base)) == "https://example.net"
    with pytest.raises(Failure, match="only http and https"):
        parse_url("../c")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "only http"),
        ("ftp://example.org/", "only http"),
        ("file:///etc/passwd", "only http"),
        ("javascript:alert(1)", "only http"),
        ("http://", "is no host"),
        ("http:///path", "is no host"),
        ("http://user@example.org/", "user or password"),
        ("http://user:secret@example.org/", "user or password"),
        ("http://example.org\\@127.0.0.1/", "user or password"),
        ("http://127.0.0.1%2f.example.org/", "is no host"),
        ("http://ex ample.org/", "is no host"),
        ("http://a..b/", "is no host"),
        ("http://" + "a" * 64 + ".org/", "is no host"),
        ("http://[fe80::1%25eth0]/", "is no host"),
        ("http://[::1%eth0]/", "is no host"),
        ("http://[::1/", "no host|no URL"),
        ("http://0177.0.0.1/", "no URL"),
        ("http://\uff11\uff12\uff17.0.0.1/", "no URL"),
        ("http://①②⑦.0.0.1/", "no URL"),
        ("http://example.org:25/", "port 25"),
        ("http://example.org:0/", "port 0"),
        ("http://example.org:65536/", "port 65536"),
        ("http://example.org/\n", None),
        ("http://exa\nmple.org/", "no URL"),
        ("http://example.org/\ud800", "no URL"),
        ("http://example.org/" + "a" * 70_000, "no URL"),
    ],
)
def test_what_is_no_url_of_a_page(text: str, reason: str | None) -> None:
    if reason is None:
        parse_url(text)
        return
    with pytest.raises(Failure, match=reason) as caught:
        parse_url(text)
    assert caught.value.cause == "url"
    assert "secret" not in caught.value.reason


@given(st.text())
@example("http://[")
@example("http://\udcff")
def test_any_text_is_a_url_or_is_refused(text: str) -> None:
    for each in (text, f"http://{text}", f"http://example.org/{text}"):
        with suppress(Failure):
            url = parse_url(each)
            assert url.scheme in ("http", "https")
            assert url.host
            assert parse_url(str(url)) == url


def test_offline_leaves_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    check_online("example.org")
    monkeypatch.setenv("RAG_OFFLINE", "1")
    for host in ("localhost", "127.0.0.1", "::1"):
        check_online(host)
    for host in ("example.org", "10.0.0.1", "localhost.example.org", "127.1"):
        with pytest.raises(Failure, match="RAG_OFFLINE") as caught:
            check_online(host)
        assert caught.value.cause == "offline"
