"""The order of passages that a language model's reply states.

Prompts of the RankGPT family (arXiv 2304.09542) ask for `[2] > [1]`, and models wrap it in chatter,
reasoning and lists, or write something else altogether. An order that is read from what states
none reranks by chance. So what is not surely a ranking is none: the caller then keeps the order it
had, and can say so.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rag.core.errors import InputError


@dataclass(frozen=True, slots=True)
class ParsedOrder:
    """What a model's reply says about the order of passages.

    Args:
        order: Places, from 0, of the passages that the reply names, best first, each once; () if
            it states no order.
        duplicates: Identifiers that the ranking repeats.
        unknown: Identifiers in the ranking that no passage has.
    """

    order: tuple[int, ...] = ()
    duplicates: int = 0
    unknown: int = 0


def parse_order(text: str, identifiers: Sequence[str], wanted: int | None = None) -> ParsedOrder:
    """Read the order that a model's reply states.

    Only identifiers in brackets count, and only those in the shape of a ranking:

    - a run, such as `[2] > [1]`, `[2], [1]` or `[2, 1]`, on one line or wrapped, or one name a
      line. With an arrow and nothing else on its lines but words that say what it is, any run
      counts. Others have to name half of the wanted passages, and inside other text three at
      least, for so do no examples and no remarks.
    - numbered lines that each begin with a name and explain it; without numbers, if they name half
      of the wanted passages and not in the order in which those came.

    Of several the last one counts that names almost as many passages as the one that names most:
    a closing remark does not replace the ranking, and a final ranking replaces a draft. Two
    rankings of different passages are none. Reasoning in `<think>` does not count. Takes time
    linear in the text.

    Args:
        text: The reply, of whatever kind: errors, refusals and broken-off replies too.
        identifiers: What the prompt called the passages, in their places: '1' to '20', 'A' to 'T'.
        wanted: How many passages the reply was to name; all of them unless given.

    Raises:
        InputError: Identifiers are alike, or hold more than letters and digits.
    """
    places = {_canonical(each): place for place, each in enumerate(identifiers)}
    if len(places) < len(identifiers) or not all(map(str.isalnum, places)):
        raise InputError(f"identifiers must be distinct letters and digits, not {identifiers!r}")
    half = (len(places) if wanted is None else wanted) / 2
    marked = _marked(_plain(text), places)
    found = [*_runs(marked, half), *_columns(marked, half)] or list(_explained(marked, half))
    stated = [names for _, names in sorted(found, key=lambda each: each[0])]
    most = max((len(names) for names in stated), default=0)
    names = next((each for each in reversed(stated) if len(each) >= 0.8 * most), Counter())
    if any(names.keys().isdisjoint(each) for each in stated):
        return ParsedOrder()
    order = tuple(places[name] for name in names if name in places)
    return ParsedOrder(order, names.total() - len(names), len(names) - len(order))


# Names are marked by control characters, of which the reply keeps none. Repetitions are possessive,
# so that no text is tried twice.
_ARROW = "(?:[-=]*+[>≥≫≻→⇒➔➜➡»])"
_ITEM = r"(?:[ \t]*+(?:[-•#+]++|\(?\d{1,3}[.):])[ \t]*+)"
_NAME = "(?:(?:passage|document|doc) ?)?\x02([^\x03]++)\x03"
_GAP = rf"(?:\s*+(?:[,;]|{_ARROW})\s*+|[ \t]*+)"
_RUN = re.compile(rf"(?i){_NAME}(?:{_GAP}{_NAME})*+")
_COLUMN = re.compile(rf"(?im)^(?:[^\n:\x02]++:)?+{_ITEM}?+[ \t]*+{_NAME}[ \t.,;]*+$")
_EXPLAINED = re.compile(
    rf"(?im)^[ \t]*+(?:(\d{{1,3}})[.):]|[-•#+]++)?+[ \t]*+{_NAME}(?=[ \t:.-]*+(?:\n[ \t]*+)?+\w)"
)
_MARK = re.compile("\x02([^\x03]++)\x03")
_BRACKET = re.compile(r"\[([^\[\]]++)\]")
_ARROWS = re.compile(_ARROW)
_LINE_BEGIN = re.compile(rf"{_ITEM}?+[\s(\[{{]*+")
_LINE_END = re.compile(rf"(?m)[ \t.,;)\]}}]*+(?:{_ARROW}[^\w\n]*+\d*+)?+$")
_LABEL = re.compile(
    r"(?is)(?:.*[.!?]\s)?[^.!?]*\b(?:rank|order|answer|relevan)[^.!?]*(?::|\bis)\s*"
)
_LABEL_LENGTH = 100
_DENIED = re.compile(r"(?i)\b(?:(?<!to )least|worst|ascending|not|irrelevant)\b[^\n]*+\n?+$")
# A name without brackets beside the run: it is not all of the ranking.
_TORN_BEFORE = re.compile(rf"\w\s*+{_ARROW}\s*+$")
_TORN_AFTER = re.compile(rf"\s*+{_ARROW}\s*+\w")
_THINKING = re.compile(r"(?is)<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)")
_THOUGHT = re.compile(r"(?i)</think(?:ing)?>")
_TAG = re.compile(r"</?\w++>|<\|\w++\|>")
_CHARACTERS = str.maketrans(
    dict.fromkeys("*_`\"'$\\\x02\x03\u200b\ufeff")
    | dict.fromkeys("\u2013\u2014", "-")
    | dict.fromkeys("【〖", "[")
    | dict.fromkeys("】〗", "]")
)


def _canonical(name: str) -> str:
    """Return an identifier without leading zeros."""
    name = name.strip().upper()
    return name.lstrip("0") or "0" if name.isdecimal() else name


def _plain(text: str) -> str:
    """Return a reply without reasoning and decoration, with the brackets and digits of ASCII."""
    said = unicodedata.normalize("NFKC", _THOUGHT.split(_THINKING.sub("", text))[-1])
    if not said.isascii():
        said = "".join(str(unicodedata.decimal(each, each)) for each in said)
    said = said.replace("&gt;", ">").replace("\\succ", ">")
    return _TAG.sub("\n", said).translate(_CHARACTERS)


def _marked(text: str, places: Mapping[str, int]) -> str:
    """Return a text with the names in each bracket marked, if all are such as identifiers are."""
    numbers = all(map(str.isdecimal, places))
    longest = max(map(len, places), default=0)

    def is_name(name: str) -> bool:
        return name.isdecimal() if numbers else name.isalpha() and len(name) <= longest

    def mark(bracket: re.Match[str]) -> str:
        names = [_canonical(name) for name in re.split("[,;>]", bracket[1])]
        if not all(map(is_name, names)):
            return bracket[0]
        separator = ">" if ">" in bracket[1] else ","
        return separator.join(f"\x02{name}\x03" for name in names)

    return _BRACKET.sub(mark, text)


def _runs(text: str, half: float) -> Iterator[tuple[int, Counter[str]]]:
    """Yield the runs of names that are rankings, and where they begin."""
    for run in _RUN.finditer(text):
        names = Counter(_MARK.findall(run[0]))
        line = text.rfind("\n", 0, run.start()) + 1
        before = text[max(line, run.start() - _LABEL_LENGTH) : run.start()]
        if (
            _DENIED.search(before)
            or _TORN_BEFORE.search(before)
            or _TORN_AFTER.match(text, run.end())
        ):
            continue
        introduced = _LINE_BEGIN.fullmatch(before) or _LABEL.fullmatch(before)
        alone = bool(introduced and _LINE_END.match(text, run.end()))
        stated = alone and _ARROWS.search(run[0])
        if stated or (len(names) >= half and (alone or len(names) > 2)):
            yield run.start(), names


def _columns(text: str, half: float) -> Iterator[tuple[int, Counter[str]]]:
    """Yield the ranking that has one name a line, and where its last line begins."""
    lines = list(_COLUMN.finditer(text))
    if len(lines) < max(2, half):
        return
    begin = lines[0].start()
    if not _DENIED.search(text[max(0, begin - _LABEL_LENGTH) : begin]):
        yield lines[-1].start(), Counter(line[1] for line in lines)


def _explained(text: str, half: float) -> Iterator[tuple[int, Counter[str]]]:
    """Yield the rankings that have a line for each name and say something about it."""
    numbered: list[str] = []
    loose: list[str] = []
    for line in _EXPLAINED.finditer(text):
        number, name = line.groups()
        if number is None:
            loose.append(name)
            continue
        if int(number) != len(numbered) + 1:
            if len(numbered) > 1:
                yield line.start() - 1, Counter(numbered)
            numbered = []
        if int(number) == len(numbered) + 1:
            numbered.append(name)
    if len(numbered) > 1:
        yield len(text), Counter(numbered)
    if len(loose) >= max(3, half) and loose != sorted(loose, key=lambda name: (len(name), name)):
        yield text.rfind(f"\x02{loose[-1]}\x03"), Counter(loose)
