"""How well and how fast the main text of pages is read, against trafilatura alone.

    python benchmarks/web_reading.py FOLDER… [--pages 300] [--seed 0]

Folders hold HTML pages. Those whose text is known tell how well pages are read:

- Sphinx builds keep the source of each page under `_sources`;
- `page.html` beside `page.txt` is one text in two forms, plain or AsciiDoc;
- a folder `book.html` beside `book.txt` is a book, of which each page is a chapter.

Pages that take text from elsewhere, such as from docstrings, are left out. F1 is of the words of a
page, with repetition, over those of its source without markup. Differences are paired by page;
intervals are bootstrapped.

All pages tell how fast they are read, in processor time. The readers take turns page by page, and
the fastest of three readings counts.

At last, the same pages come from a server on this machine, in a process of its own, and are fetched
and read, 32 at once: pages a second from the first request to the last document, against what
trafilatura alone needs for the same bytes.
"""

from __future__ import annotations

import argparse
import html
import random
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trafilatura

from rag.core.errors import BatchError, FetchFailed
from rag.core.web import Page
from rag.evaluation.significance import compare
from rag.web.fetcher import WebFetcher
from rag.web.reading import read_page

RUNS = 3
CONCURRENCY = 32
FEWEST_WORDS = 50
# Directives whose text is not in the source, or is not shown.
ELSEWHERE = re.compile(
    r"^ *\.\. +(?:auto\w+|include|literalinclude|click|program-output|raw|plot|jinja\S*|toctree)::"
    r"|^include::",
    re.MULTILINE,
)
# What a source says about its own form.
MARKUP = re.compile(
    r"""
    ^\ *\.\.\ +(?:_[^\n]*:|[\w:-]+::(?P<said>[^\n]*))\ *$    # targets, directives
    | ^\ *\.\.\ [^\n]*\n(?:\ +[^\n]*\n|\n(?=\ ))*            # comments
    | ^\ *:(?:\w|[- ])+:(?:\ [^\n]*)?$                       # options and fields
    | (?P<role>:[\w:+-]+:)(?=`)                              # roles
    | \ ?<[^<>`\n]*>(?=`)                                    # targets of references
    | ^\[[^\]\n]*\]\ *$ | ^:[\w-]+:[^\n]*$                   # AsciiDoc's block attributes, entries
    """,
    re.MULTILINE | re.VERBOSE,
)


def ours(data: bytes) -> str:
    """Read a page with ragmeter."""
    try:
        document, _ = read_page(
            data,
            url="https://docs.test/",
            content_type="text/html",
            retrieved="2026-01-01T00:00:00Z",
        )
    except FetchFailed:  # a page without text
        return ""
    return document.text


def theirs(data: bytes, **options: Any) -> str:
    """Read a page with trafilatura."""
    return trafilatura.extract(data, **options) or ""


READERS: dict[str, Callable[[bytes], str]] = {
    "ragmeter": ours,
    "trafilatura": theirs,
    "trafilatura, favor_recall": partial(theirs, favor_recall=True),
}
# What its text has besides would count as wrong words.
ALL_THAT_RAGMETER_GIVES = partial(
    theirs, output_format="markdown", with_metadata=True, include_links=True
)


def words(text: str) -> Counter[str]:
    """Count the words of a text."""
    return Counter(re.findall(r"\w+", text.casefold()))


def f1(text: str, known: str) -> float:
    """Return the harmonic mean of precision and recall of a text's words."""
    said, right = words(text), words(known)
    shared = (said & right).total()
    return 2 * shared / max(1, said.total() + right.total())


def known_texts(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the pages of a folder whose text is known, and the text."""
    for page in sorted(folder.rglob("*.html")):
        source = _source(page) if page.is_file() else ""
        if words(source).total() >= FEWEST_WORDS and not ELSEWHERE.search(source):
            yield page, MARKUP.sub(lambda found: found["said"] or "", source)


def _source(page: Path) -> str:
    """Return the source of a page; '' where there is none."""
    beside = page.with_suffix(".txt")
    if beside.is_file():
        return beside.read_text("utf-8", "replace")
    book = page.parent.with_suffix(".txt")
    if page.parent.suffix == ".html" and book.is_file():
        return _chapter(book.read_text("utf-8", "replace"), page.read_text("utf-8", "replace"))
    for root in page.parents:
        for suffix in (".rst.txt", ".txt"):
            source = root / "_sources" / page.relative_to(root).with_suffix(suffix)
            if source.is_file():
                return source.read_text("utf-8", "replace")
    return ""


def _chapter(book: str, page: str) -> str:
    """Return the chapter of a book that a page has; '' where it cannot be told."""
    title = re.search(r"<title>\s*(.+?)\s*(?:—.*)?</title>", html.unescape(page))
    chapters = re.split(r"^(?=[^\n]+\n\*{4,}\n)", book, flags=re.MULTILINE)
    same = [each for each in chapters if title and each.startswith(f"{title[1]}\n")]
    return same[0] if len(same) == 1 else ""


Scores = dict[str, dict[str, float]]
"""F1 of each page, by reader."""


def scores(pairs: list[tuple[Path, str]]) -> Scores:
    """Score what each reader takes for the main text of pages."""
    return {
        name: {str(page): f1(read(page.read_bytes()), known) for page, known in pairs}
        for name, read in READERS.items()
    }


def show_quality(scored: Scores) -> None:
    """Print the mean F1 of each reader, and how ragmeter differs from the others."""
    for name, values in scored.items():
        print(f"  {name:40} F1 {statistics.mean(values.values()):.4f}", end="")
        if name != "ragmeter":
            found = compare(scored["ragmeter"], values)
            interval = f"[{found.low:+.4f}, {found.high:+.4f}]"
            print(f"   ragmeter {found.difference:+.4f} {interval}", end="")
        print()


def show_speed(pages: list[bytes]) -> None:
    """Print how long each reader takes for a page, and the ratio to trafilatura's default."""
    seconds = {
        name: statistics.mean(min(taken) for taken in each) * 1e3
        for name, each in _timed(pages).items()
    }
    for name, taken in seconds.items():
        print(f"  {name:40} {taken:6.1f} ms/page   {taken / seconds['trafilatura']:.2f}")


def _timed(pages: list[bytes]) -> dict[str, list[list[float]]]:
    readers = {**READERS, "trafilatura, as much as ragmeter": ALL_THAT_RAGMETER_GIVES}
    taken: dict[str, list[list[float]]] = {name: [[] for _ in pages] for name in readers}
    for _ in range(RUNS):
        for at, page in enumerate(pages):
            for name, read in readers.items():
                started = time.process_time()
                read(page)
                taken[name][at].append(time.process_time() - started)
    return taken


def show_throughput(pages: list[Path]) -> None:
    """Print how many pages a second are fetched and read, and how many trafilatura reads."""
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", "/", "0"]
    with subprocess.Popen(
        [*command, "--protocol", "HTTP/1.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONUNBUFFERED": "1"},
        text=True,
    ) as server:
        assert server.stdout is not None
        found = re.search(r"http://[^/]+", server.stdout.readline())
        assert found is not None
        try:
            fetched, took = _fetched([found[0] + quote(str(page.resolve())) for page in pages])
        finally:
            server.terminate()
    started = time.perf_counter()
    for page in pages:
        theirs(page.read_bytes())
    alone = time.perf_counter() - started
    print(f"  fetched and read {fetched:5} of {len(pages)}: {len(pages) / took:6.1f} pages/s")
    print(
        f"  trafilatura alone          {len(pages) / alone:6.1f} pages/s   ratio {took / alone:.2f}"
    )


def _fetched(urls: list[str]) -> tuple[int, float]:
    """Fetch pages; return how many could be read, and the seconds that it took."""
    with WebFetcher(
        allow=["127.0.0.0/8"], concurrency=CONCURRENCY, per_host=CONCURRENCY, timeout=60
    ) as fetcher:
        started = time.perf_counter()
        try:
            results: list[object] = [*fetcher.fetch_many(urls)]
        except BatchError as error:
            results = [*error.results]
        return sum(isinstance(each, Page) for each in results), time.perf_counter() - started


def main() -> None:
    """Print how well and how fast pages are read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--pages", type=int, default=300, help="most pages of a folder")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="dateutil")  # which trafilatura reads dates with

    rng = random.Random(args.seed)
    every: list[Path] = []
    together: Scores = {name: {} for name in READERS}
    for folder in args.folders:
        pages = sorted(page for page in folder.rglob("*.html") if page.is_file())
        every += rng.sample(pages, min(args.pages, len(pages)))
        pairs = list(known_texts(folder))
        if pairs:
            scored = scores(rng.sample(pairs, min(args.pages, len(pairs))))
            print(f"{folder}: {len(scored['ragmeter'])} pages of known text")
            show_quality(scored)
            for name, values in scored.items():
                together[name] |= values
    if together["ragmeter"]:
        print(f"all: {len(together['ragmeter'])} pages of known text")
        show_quality(together)
    chosen = rng.sample(every, min(args.pages, len(every)))
    print(f"{len(chosen)} pages of all folders")
    show_speed([page.read_bytes() for page in chosen])
    show_throughput(chosen)


if __name__ == "__main__":
    main()
