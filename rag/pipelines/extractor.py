"""Of every page the sentences that help to answer, verbatim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rag.core.budgets import Budget
from rag.core.errors import BudgetExhausted, CallFailed, ContextOverflow, InputError
from rag.core.generation import Prompt, Sampling
from rag.core.hits import Hit
from rag.core.operations import CountTokens, Limited, together
from rag.core.protocols import LLM
from rag.core.templates import load_template
from rag.pipelines.fitting import contexts_that_fit
from rag.pipelines.json_replies import generate_json
from rag.pipelines.known_text import NumberedSentences, Stretch
from rag.pipelines.sentence_ranges import parse_ranges

PageStatus = Literal["extracted", "irrelevant", "unreadable", "failed", "skipped"]
"""What came of asking a model about a page:

- extracted: sentences of it;
- irrelevant: no sentence of it helps, as the model says;
- unreadable: the reply names no sentences, and the passages stay as they were;
- failed: the call failed, and the passages stay as they were;
- skipped: a window or a budget allowed no call, and the passages stay as they were.
"""

# Tokens of a range, such as '[120,134],', and of what stands around all of them.
_RANGE_TOKENS = 12
_FORM_TOKENS = 16


@dataclass(frozen=True, slots=True)
class PageReport:
    """What came of asking a model about a page.

    Args:
        document_id: The page.
        status: What came of it.
        unread: Passages that had no room in the prompt, and are left out.
        reason: Why the passages stay as they were; '' where they do not.
    """

    document_id: str
    status: PageStatus = "extracted"
    unread: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Extraction:
    """The sentences that help to answer a question.

    Args:
        hits: Ranges of the documents' text, in the order of the best passage that each is part of,
            then in that of the text. `score`, `scores` and `ranks` are that passage's.
        pages: What came of each page, the page of the best passage first.
        tokens_before: Tokens of all passages.
        tokens_after: Tokens of what is left of them.
    """

    hits: tuple[Hit, ...] = ()
    pages: tuple[PageReport, ...] = ()
    tokens_before: int = 0
    tokens_after: int = 0

    @property
    def notes(self) -> list[str]:
        """Whatever fell short, one sentence each."""
        count = len(self.pages)
        kept = Counter(page.status for page in self.pages if page.reason)
        reasons = dict.fromkeys(page.reason for page in self.pages if page.status == "failed")
        unread = sum(page.unread for page in self.pages)
        return [
            *(f"pages not extracted, {status}: {kept[status]} of {count}" for status in kept),
            *reasons,
            *([f"passages left out for lack of room in a page's prompt: {unread}"] * bool(unread)),
        ]


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A hit, and its place among those of the question."""

    place: int
    hit: Hit


class Extractor:
    """Has a model name the sentences of each page that help, and copies them.

    The extractor of arXiv 2411.19478, without training: the model sees the sentences of a page with
    numbers and returns ranges of these. What the ranges name is cut out of the passages verbatim,
    with offsets into the document's text, so that nothing is paraphrased and citations are as exact
    as before. A page is all passages of one document, whether of the web or of a collection; where
    passages overlap they are read as one, and no range spans text that lies between them.

    All pages are asked about side by side. Of a page that no call or no readable reply could be had
    for, the passages stay as they are.

    Args:
        llm: The model; the engine's unless given.
        page_tokens: Tokens of a page's prompt at most. Its worst passages are left out where they
            do not fit.
        max_ranges: Ranges of a page at most.
        prompts: A folder whose `extract.toml` replaces the shipped prompt.

    Raises:
        InputError: `page_tokens` or `max_ranges` is less than 1.
    """

    def __init__(
        self,
        llm: LLM | None = None,
        *,
        page_tokens: int = 1500,
        max_ranges: int = 8,
        prompts: Path | None = None,
    ) -> None:
        for name, value in (("page_tokens", page_tokens), ("max_ranges", max_ranges)):
            if value < 1:
                raise InputError(f"{name} is {value}; it must be at least 1")
        self.llm = llm
        self.page_tokens = page_tokens
        self.max_ranges = max_ranges
        self.template = load_template("extract", prompts)
        self._max_tokens = _FORM_TOKENS + _RANGE_TOKENS * max_ranges
        self._schema = _schema(max_ranges)

    async def program(self, question: str, hits: Sequence[Hit]) -> Extraction:
        """Return the sentences of hits, best first, that help to answer a question."""
        if not hits:
            return Extraction()
        pages: dict[str, list[_Ranked]] = {}
        for place, hit in enumerate(hits):
            pages.setdefault(hit.passage.document_id, []).append(_Ranked(place, hit))
        read = await together(*(self._read(question, page) for page in pages.values()))
        pieces = sorted(
            (piece for _, of_page in read for piece in of_page),
            key=lambda piece: (piece.place, piece.hit.passage.start),
        )
        left = tuple(piece.hit for piece in pieces)
        before, after = await together(self._count(hits), self._count(left))
        return Extraction(left, tuple(report for report, _ in read), before, after)

    async def _read(
        self, question: str, page: Sequence[_Ranked]
    ) -> tuple[PageReport, Sequence[_Ranked]]:
        """Return what came of a page, and what is left of it."""
        name = page[0].hit.passage.document_id
        try:
            count = await self._fitting(question, page)
            if count == 0:
                return PageReport(name, "skipped", reason="not even one passage fits"), page
            prompt = self._prompt(question, page[:count])
            reply = await generate_json(prompt, self._schema, self._max_tokens, self.llm, "extract")
        except BudgetExhausted as error:
            return PageReport(name, "skipped", reason=str(error)), page
        except (CallFailed, ContextOverflow) as error:
            return PageReport(name, "failed", reason=str(error)), page
        sentences = _sentences(page[:count])
        ranges = parse_ranges(reply.text, len(sentences), self.max_ranges)
        if ranges is None:
            reason = f"the reply names no sentences: {reply.text[:200]!r}"
            return PageReport(name, "unreadable", reason=reason), page
        pieces = [_piece(page[:count], part) for named in ranges for part in sentences.cut(*named)]
        status: PageStatus = "extracted" if ranges else "irrelevant"
        return PageReport(name, status, unread=len(page) - count), pieces

    async def _fitting(self, question: str, page: Sequence[_Ranked]) -> int:
        """Return how many passages of a page, best first, fit a prompt."""
        program = contexts_that_fit(
            lambda count: self._prompt(question, page[:count]),
            len(page),
            Sampling(max_tokens=self._max_tokens),
            llm=self.llm,
        )
        count: int = await Limited(program, Budget(tokens=self.page_tokens))
        return count

    def _prompt(self, question: str, page: Sequence[_Ranked]) -> Prompt:
        shown = replace(page[0].hit.passage, text=str(_sentences(page)), heading="")
        return self.template.render(question, [Hit(shown, 0.0)], top=self.max_ranges)

    def _count(self, hits: Sequence[Hit]) -> CountTokens:
        texts = "\n\n".join(hit.passage.text for hit in hits)
        return CountTokens(Prompt(texts), self.llm)


def _sentences(page: Sequence[_Ranked]) -> NumberedSentences:
    return NumberedSentences(each.hit.passage for each in page)


def _piece(page: Sequence[_Ranked], part: Stretch) -> _Ranked:
    """Return a part of a page as a hit, like the best passage that it is a part of."""
    best = next(
        each
        for each in page
        if each.hit.passage.start < part.end and part.start < each.hit.passage.end
    )
    passage = replace(
        best.hit.passage,
        id=f"{best.hit.passage.document_id}#{part.start}-{part.end}",
        text=part.text,
        start=part.start,
        end=part.end,
    )
    return _Ranked(best.place, replace(best.hit, passage=passage))


def _schema(max_ranges: int) -> Mapping[str, Any]:
    pair = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    ranges = {"type": "array", "items": pair, "maxItems": max_ranges}
    return {
        "type": "object",
        "properties": {"ranges": ranges},
        "required": ["ranges"],
        "additionalProperties": False,
    }
