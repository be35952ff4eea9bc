import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.web.charset import decode_page

TEXT = "Füße und Öl, früh: „immer“ 5 €"
RUSSIAN = "Насосы чинят, заменяя уплотнение вала, и проверяют под давлением."


@pytest.mark.parametrize(
    ("encoding", "header", "declared"),
    [
        ("utf-8", "", ""),
        ("utf-8", "utf-8", "windows-1252"),
        ("utf-8-sig", "windows-1252", "windows-1252"),
        ("utf-16", "utf-8", "utf-8"),
        ("utf-16-le", "utf-16le", ""),
        ("windows-1252", "windows-1252", "utf-8"),
        ("windows-1252", "", "windows-1252"),
        ("windows-1252", "iso-8859-1", ""),
        ("windows-1252", "utf-8", "latin1"),
        ("utf-8", "no-such-encoding", "base64"),
        ("utf-8", "ascii\x00", ""),
    ],
)
def test_the_mark_then_the_header_then_the_page(encoding, header, declared):
    assert decode_page(TEXT.encode(encoding), header=header, declared=declared) == TEXT


def test_the_header_counts_for_more_than_the_page():
    data = RUSSIAN.encode("koi8-r")
    assert decode_page(data, header="koi8-r", declared="windows-1251") == RUSSIAN


@pytest.mark.parametrize("header", ["", "utf-8"])
def test_another_encoding_than_the_stated_is_found_out(header):
    assert decode_page(RUSSIAN.encode("windows-1251"), header=header) == RUSSIAN


@pytest.mark.parametrize("header", ["", "utf-8"])
def test_a_few_broken_bytes_do_not_change_the_encoding(header):
    assert decode_page(RUSSIAN.encode() + b"\xd0", header=header) == f"{RUSSIAN}\ufffd"


def test_names_mean_what_they_mean_to_browsers():
    assert decode_page("€ 喆".encode("gb18030"), header="gb2312") == "€ 喆"
    assert decode_page("①".encode("cp932"), declared="Shift_JIS") == "①"


@given(st.binary(), st.text(), st.sampled_from(["", "utf-8", "utf-16", "idna", "hex", "rot13"]))
def test_any_bytes_become_text(data, header, declared):
    assert "\x00" not in decode_page(data, header=header, declared=declared)
