"""Which URLs are of one page, and which passages say nothing new."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.core.documents import Document
from rag.retrievers.duplicates import fold_duplicates, url_key
from rag.testing.embedders import HashEmbedder
from rag.testing.retriever_conformance import DOCUMENTS
from rag.text.splitting import Splitter

STORY = (
    "The lighthouse of Rubha Mor was lit for the first time in the winter of 1861, after four "
    "years of work in which the masons lost every tool to the sea at least once. Its keeper wrote "
    "down the weather three times a day, and the names of the ships that passed. When the lamp "
    "was changed to electric light, nobody was left to write, and the book ends in the middle of "
    "a page. The museum keeps it under glass, open where the writing stops, and turns no leaf."
)
OTHER = (
    "Bees find their way by the sun. A worker that has found flowers dances on the comb, and the "
    "angle of the dance tells the others where to fly. Clouds do not matter much: bees see how "
    "light is polarised, and a patch of blue sky is enough. At night the hive is still, and the "
    "dancers rest; some go on at dawn with the dance that they had left, corrected by the hours."
)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("https://example.org/a", "http://Example.ORG:80/a/"),
        ("https://example.org:443/a", "https://example.org/a#section-2"),
        ("https://example.org", "https://example.org/"),
        ("https://example.org/a?x=1&y=2", "https://example.org/a?y=2&x=1"),
        ("https://example.org/a?x=1", "https://example.org/a?utm_source=news&x=1&fbclid=Zz"),
        ("https://example.org/a?q=a%20b", " https://example.org/a?q=a+b"),
    ],
)
def test_urls_of_one_page(left, right):
    assert url_key(left) == url_key(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("https://example.org/a", "https://example.org/A"),
        ("https://example.org/a", "https://www.example.org/a"),
        ("https://example.org:8443/a", "https://example.org/a"),
        ("https://example.org/?gallery=3", "https://example.org/?gallery=4"),
        ("https://example.org/?keyword=fox", "https://example.org/?keyword=owl"),
        ("https://example.org/?page", "https://example.org/?contact"),
        ("https://example.org/", "ftp://example.org/"),
    ],
)
def test_urls_of_two_pages(left, right):
    assert url_key(left) != url_key(right)


@given(st.text() | st.from_regex(r"https?://[^/]*(/.*)?", fullmatch=True))
def test_any_text_has_a_key(url):
    assert isinstance(url_key(url), str)


def fold(*texts, tokens=400):
    """What is left of pages with these texts, and the metadata of each passage left."""
    documents = [
        Document(f"http://site{number}.example/", text, uri=f"http://site{number}.example/")
        for number, text in enumerate(texts)
    ]
    embedder = HashEmbedder()
    passages = Splitter(embedder.token_spans, tokens).split(documents)
    folded = fold_duplicates(documents, passages)
    return [[each.text for each in page] for page in folded], [
        [each.metadata.get("also_at") for each in page] for page in folded
    ]


def test_the_same_text_is_there_once_with_all_its_urls():
    kept, also_at = fold(STORY, OTHER, STORY.upper(), STORY.replace(",", ";"))
    assert kept == [[STORY], [OTHER], [], []]
    assert also_at == [[["http://site2.example/", "http://site3.example/"]], [None], [], []]


def test_furniture_of_another_site_is_no_new_text():
    mirror = f"Mirror of the Isles. Sign in to comment. {STORY} Read more stories like this one."
    kept, also_at = fold(STORY, mirror)
    assert kept == [[STORY], []]
    assert also_at == [[["http://site1.example/"]], []]


def test_a_page_that_says_more_keeps_what_is_more():
    kept, also_at = fold(STORY, f"{OTHER}\n\n{STORY}", tokens=120)
    assert "".join(kept[0]) == STORY
    assert OTHER.startswith(kept[1][0])
    assert not any(STORY[-200:] in text for text in kept[1])
    assert ["http://site1.example/"] in also_at[0]


def test_an_excerpt_is_folded_into_the_whole():
    excerpt = STORY[STORY.index("Its keeper") : STORY.index(" The museum")]
    kept, also_at = fold(STORY, excerpt, tokens=64)
    assert kept[1] == []
    assert [each for each in also_at[0] if each] == [["http://site1.example/"]]


def test_another_number_is_another_statement():
    kept, _ = fold(STORY, STORY.replace("1861", "1862"))
    assert [len(page) for page in kept] == [1, 1]


def test_short_texts_that_differ_in_a_word_stay():
    kept, _ = fold("Ann won the race at the games of the valley.", "Ben won the race at the games.")
    assert [len(page) for page in kept] == [1, 1]


def test_texts_from_one_template_stay():
    kept, _ = fold(*(document.text for document in DOCUMENTS))
    assert [len(page) for page in kept] == [1] * len(DOCUMENTS)


def test_a_text_without_words_stays():
    assert fold("***", "***")[0] == [["***"], ["***"]]


def test_without_pages():
    assert fold() == ([], [])
