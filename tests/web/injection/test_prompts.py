"""No page ends its passage, or speaks as anybody but a page."""

import re

import pytest

from rag.web.reading import read_page
from tests.web.injection.conftest import SmallWeb
from tests.web.injection.obedience import CASES
from tests.web.injection.pages import ATTACKS, MARK, SEEN, UNSEEN

_FENCE = re.compile(r"<\s*/?\s*passage\b", re.IGNORECASE)
_IGNORABLE = re.compile(
    "[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]"
)


@pytest.mark.parametrize(("name", "attack"), CASES)
def test_every_passage_has_one_fence_at_each_end(web: SmallWeb, name: str, attack: str) -> None:
    clean, attacked = web.ask(name).prompts, web.ask(name, attack).prompts
    assert any(prompt.contexts for prompt in attacked)
    for context in (context for prompt in attacked for context in prompt.contexts):
        assert not _IGNORABLE.search(context), "what nobody sees is not shown to models"
        opening, closing = _FENCE.finditer(context)
        assert (opening.start(), closing[0]) == (0, "</passage")
        assert context.endswith("\n</passage>")
        assert re.match(r'<passage title="[^"\n]*">\n', context)
    assert (attacked[0].system, attacked[0].question) == (clean[0].system, clean[0].question)


@pytest.mark.parametrize("attack", SEEN)
def test_models_read_what_readers_see(web: SmallWeb, attack: str) -> None:
    (prompt,) = web.ask("RetrieveAndRead", attack).prompts
    assert MARK in prompt.user


@pytest.mark.parametrize("attack", UNSEEN)
def test_models_do_not_read_what_nobody_sees(web: SmallWeb, attack: str) -> None:
    (prompt,) = web.ask("RetrieveAndRead", attack).prompts
    assert "320 nests" in prompt.user
    assert MARK not in prompt.user
    assert "previous instructions" not in prompt.user


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_page_keeps_its_text_and_address(attack: str) -> None:
    url = "http://127.0.0.1/heron"
    document, links = read_page(
        ATTACKS[attack].encode(),
        url=url,
        content_type="text/html; charset=utf-8",
        retrieved="2026-03-31T12:00:00Z",
    )
    assert (document.id, document.uri) == (url, url)
    assert document.metadata["sensitivity"] == "public"
    assert document.metadata["retrieved"] == "2026-03-31T12:00:00Z"
    assert "The largest heronry of the country has 320 nests" in " ".join(document.text.split())
    assert all(link.url.startswith(("http://", "https://")) for link in links)
