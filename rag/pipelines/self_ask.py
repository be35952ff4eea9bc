"""Self-Ask with search."""

from __future__ import annotations

from rag.pipelines.iter_drag import IterDRAG


class SelfAsk(IterDRAG):
    """Asks sub-questions one after the other and searches for each of them only.

    The method of arXiv 2210.03350, section 3, with passages for the answer of a sub-question in
    place of a search engine's own: the question itself is not searched for, and passages of an
    earlier sub-question make place for those of the next. Otherwise it is `IterDRAG`.
    """

    strategy = "Self-Ask"
    keeps_passages = False
