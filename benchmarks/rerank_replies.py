"""Replies that language models and servers give when asked to rank passages, for a benchmark.

Each is drawn from a seed in a form of its kind, and what it states is known from how it is made.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def forms(lines: str) -> list[str]:
    """Return templates that are written one a line, with ⏎ for what breaks theirs."""
    return [line.strip().replace("⏎", "\n") for line in lines.strip().splitlines()]


QUERIES = forms("""
    who won the world cup in 1998
    how many moons does jupiter have
    what is the capital of australia
    causes of the 1929 stock market crash
    python 3 read file line by line
""")
REMARKS = forms("""
    answers the query directly
    gives the year {year} and names the people involved
    covers the topic, but only in general terms
    mentions it in passing (about {few}% of the text)
    compares {few} cases in detail
    is about something else
    repeats much of what [{other}] says
""")
BEFORE = forms("""
    Here is the ranking of the passages based on their relevance to the search query:
    Here is the ranking in the requested format:
    Sure! Here are the passages, ranked from most to least relevant:
    Based on the search query, the passages are ranked as follows:
    Ranking:
    **Final ranking:**
    The passages ranked by relevance to the query are:
    Here is the ranking of the {n} passages based on their relevance to the query:
    Ranking of all {n} passages for the query "{query}":
    I have read the {n} passages. My ranking (most relevant first):
""")
AFTER = forms("""
    I hope this helps!
    ---
    Let me know if you need a justification for this ranking.
    Note that [{one}] and [{other}] are very similar.
    Passages [{one}] and [{other}] do not address the query directly.
    The top {few} passages answer the query; the others are background.
    The first passage is the only one that names the year {year}.
""")
THOUGHT = forms("""
    The query is: {query}. There are {n} passages. [{one}] {remark}. So [{one}] > [{other}].
    Let me look at the {n} passages. Passage [{one}] {remark}. Passage [{other}] has more detail.
    I need passages about the query. [{one}] {remark}, and [{other}] does not. [{one}] is best.
""")
EXPLAINED = forms("""
    {rank}. [{name}]: {remark}
    {rank}. [{name}] - {remark}
    {rank}. **[{name}]** {remark}.
    {rank}. Passage [{name}]: {remark}.
    - [{name}]: {remark}
    ### [{name}]⏎It {remark}.⏎
""")
PROMPT = """I will provide you with {n} passages, each indicated by a numerical identifier [].

{passages:\n}

Search Query: {query}.
Rank the {n} passages above based on their relevance to the search query. All the passages should
be included and listed using identifiers, in descending order of relevance. The output format should
be [] > [], e.g., [2] > [1]."""

Order = list[int]
"""Places of passages, best first."""


class Strings(list[str]):
    """Strings that a template joins, by ' > ' or by what it says: `{ids:, }`."""

    def __format__(self, separator: str) -> str:
        """Return the strings, joined."""
        return (separator or " > ").join(self)


def all_of(_: random.Random, order: Order) -> Order:
    """Name each passage once."""
    return order


def top(rng: random.Random, order: Order) -> Order:
    """Name the first few passages only, or all."""
    return order[: rng.choice([3, 5, len(order)])]


def some_of(rng: random.Random, order: Order) -> Order:
    """Leave passages out."""
    return order[: rng.randint(2, len(order) - 1)]


def again(rng: random.Random, order: Order) -> Order:
    """Name some passages again, or go round and round."""
    return order + order[: rng.randint(1, len(order))] * rng.choice([1, 1, 2, 6])


def beyond(rng: random.Random, order: Order) -> Order:
    """Name passages that there are not."""
    said = list(order)
    for _ in range(rng.randint(1, 4)):
        said.insert(rng.randint(0, len(said)), len(order) + rng.randint(0, 8))
    return said


# Of each kind its share, what it names, and its forms.
STATED: dict[str, tuple[float, Callable[[random.Random, Order], Order], str]] = {
    "as asked": (28, all_of, "{ids}"),
    "letters": (3, all_of, "{ids} \n Ranking: {ids} \n The ranking is:⏎{ids}"),
    "other forms": (
        10,
        all_of,
        """
        {ids:, }
        {ids:⏎}
        {ids:>}
        {ids: → }
        {ids: >⏎}
        【{names:】\uff1e【}】
        **[{names:]** > **[}]**
        `[{names:]` > `[}]`
        ```⏎{ids}⏎```
        <answer>{ids}</answer>
        [{names:, }]
        {{"ranking": [{names:, }]}}
        ```json⏎[⏎  "[{names:]",⏎  "[}]"⏎]⏎```
        - {ids:⏎- }
        * **[{names:]**⏎* **[}]**
        {numbered:⏎}
        {numbered:⏎}
        The final ranking is {ids}.
        $\\boxed{{{ids}}}$
        """,
    ),
    "chatter around": (
        11,
        all_of,
        """
        {before} {ids}⏎{after}
        {before}⏎{ids}
        {before}⏎⏎{ids}⏎⏎{after}
        """,
    ),
    "reasoning in tags": (
        8,
        all_of,
        """
        <think>⏎{thought}⏎</think>⏎⏎{ids}
        {thought}</think>{ids}
        """,
    ),
    "reasoning before": (
        3,
        all_of,
        """
        {thought}⏎⏎{before} {ids}
        {thought}⏎⏎Answer: {ids}
        """,
    ),
    "explained passages": (3, top, "{before}⏎⏎{explained:⏎} \n {explained:⏎}"),
    "told in sentences": (
        1,
        top,
        """
        The most relevant passage is {ids:, followed by }.
        I would put them in this order: first {ids:, after it }.
        """,
    ),
    "draft, then final": (
        1,
        all_of,
        """
        Initial ranking: {draft}⏎⏎On reflection, it should be:⏎{ids}
        {draft}⏎⏎Corrected ranking: {ids}
        """,
    ),
    "repeats": (2, again, "{ids}"),
    "omissions": (3, some_of, "{ids} \n {ids} \n {before}⏎{ids}"),
    "out of range": (2, beyond, "{ids}"),
    "broken off": (
        3,
        some_of,
        """
        {ids}
        {ids} >
        {before}⏎⏎{ids} > [
        {ids} > [{stem}
        Ranking: {ids} > [{next}
        """,
    ),
    "no brackets": (2, all_of, "{names} \n {names:, } \n {names:⏎} \n Passage {names: > Passage }"),
    "some brackets": (1, all_of, "{mixed}"),
}
# Of each kind its share and its forms.
NONE: dict[str, tuple[float, str]] = {
    "server errors": (
        5,
        """
        Error code: 429 - {{'error': {{'message': 'Limit 30000, Used 29{few}10.', 'code': 'tpm'}}}}
        Rate limit reached for gpt-4o on tokens per min (TPM). Please try again in {few}s.
        This model's maximum context length is 4096 tokens. You requested 5{few}12 tokens.
        {{"error": {{"message": "The server had an error", "type": "server_error"}}}}
        {{"error": {{"code": [{few}], "message": "Resource exhausted", "details": [1, 2]}}}}
        {{"detail": [{{"loc": ["body", "messages", 0], "msg": "field required"}}]}}
        litellm.RateLimitError: AnthropicException - 529 Overloaded, retry {few} of 10
        <html><head><title>502 Bad Gateway</title></head><body>nginx/1.{few}</body></html>
        HTTPConnectionPool(host='localhost', port=8000): Read timed out. (timeout={few})
        CUDA out of memory. Tried to allocate {few}.00 GiB. GPU 0 has a capacity of 80 GiB
        Traceback (most recent call last):⏎  File "/app/serve.py", line {few}⏎IndexError: a[{one}]
        Internal Server Error
        """,
    ),
    "rank_llm's errors": (2, "ERROR::reduce_length \n ERROR::The response was filtered"),
    "refusals": (
        3,
        """
        I'm sorry, but I can't help with that.
        I'm sorry, but I cannot rank these {n} passages because of their harmful content.
        I cannot rank the passages [1] to [{n}], since none of them answers the query.
        As an AI model I can't judge these passages: [{one}], [{other}].
        I'm unable to answer. If you are in crisis, call 988 or 1-800-273-8255.
        I don't see enough information to choose between [{one}] and [{other}].
        """,
    ),
    "waiting for passages": (
        2,
        """
        Okay, please provide the passages.
        Here are the {n} passages you provided. What would you like me to do with them?
        Received passage [{one}].
        Please provide the {n} passages, and I will rank them in the format [2] > [1].
        I will rank the {n} passages and answer in the format [] > [], e.g., [3] > [2].
        Understood. The output format is: [2] > [1]
        """,
    ),
    "mentions": (
        2,
        """
        Passages [{one}] and [{other}] are both relevant to the query.
        None of the passages answers the query. [{one}] comes close, [{other}] is off topic.
        Passage [{one}] contradicts passage [{other}]: the first says {year}.
        The passages [{one}], [{other}] do not mention the topic.
        It depends on whether the user wants [{one}] or [{other}].
        The following passages are not relevant:⏎- [{one}]⏎- [{other}]
        A few things stand out:⏎- [{one}]: has the year {year}⏎- [{other}]: has another
        """,
    ),
    "answers": (
        2,
        """
        It was completed in {year} [{one}].
        There are {few} of them, as passage [{one}] states [{other}].
        According to [{one}], it was on 9 November 1989, although [{other}] gives {year}.
        About {few}0,000 a year [{one}][{other}].
        Answer: {year}
        No.
        """,
    ),
    "echo of the prompt": (1, "{prompt} \n {prompt:.1000} \n {prompt:.300}"),
    "unfinished reasoning": (1, "<think>⏎{thought} \n <think>⏎{thought} {draft}"),
    "empty": (1, "⏎ \n [ \n [] \n [] > [] \n ..."),
}


@dataclass(frozen=True)
class Reply:
    """A reply to the request to rank passages.

    Args:
        kind: What kind of reply it is.
        identifiers: What the passages are called.
        text: The reply.
        stated: The orders of which any may be read; none if it states no order.
    """

    kind: str
    identifiers: list[str]
    text: str
    stated: list[Order]


def replies(count: int, seed: int) -> list[Reply]:
    """Draw replies."""
    rng = random.Random(seed)
    shares = {kind: each[0] for kind, each in (STATED | NONE).items()}
    kinds = rng.choices(list(shares), list(shares.values()), k=count)
    return [drawn(rng, kind) for kind in kinds]


def drawn(rng: random.Random, kind: str) -> Reply:
    """Draw a reply of a kind."""
    size = rng.choice([20] * 7 + [10, 10, rng.randint(3, 19)])
    names = [chr(ord("A") + at) if kind == "letters" else str(at + 1) for at in range(size)]
    order = rng.sample(range(size), size)
    if kind in NONE:
        form = rng.choice(forms(NONE[kind][1]))
        return Reply(kind, names, form.format(**filling(rng, names, order)), [])
    _, choose, lines = STATED[kind]
    form, said = rng.choice(forms(lines)), choose(rng, order)
    following = names[order[len(said) % size]]
    text = form.format(**filling(rng, names, said), stem=following[0], next=following)
    stated = [[place for place in dict.fromkeys(said) if place < size]]
    if "{next}" in form:
        # The digits may be those of the next identifier, or the first ones of a longer one.
        stated.append(order[: len(said) + 1])
    return Reply(kind, names, text, stated)


def filling(rng: random.Random, names: list[str], said: Order) -> dict[str, Any]:
    """Draw what templates are filled with, given the places to name."""
    one, other = rng.sample(names, 2)
    year, few = rng.randint(1850, 2025), rng.randint(2, 9)
    facts = {"n": len(names), "one": one, "other": other, "year": year, "few": few}
    facts["query"] = rng.choice(QUERIES)

    def remark() -> str:
        return rng.choice(REMARKS).format(**facts)

    called = [names[place] if place < len(names) else str(place + 1) for place in said]
    ranked, line = list(enumerate(called, 1)), rng.choice(EXPLAINED)
    passages = Strings(f"[{name}] The text {remark()}." for name in names)
    return facts | {
        "before": rng.choice(BEFORE).format(**facts),
        "after": rng.choice(AFTER).format(**facts),
        "thought": rng.choice(THOUGHT).format(**facts, remark=remark()),
        "prompt": PROMPT.format(**facts, passages=passages),
        "draft": Strings(f"[{name}]" for name in rng.sample(names, len(names))),
        "names": Strings(called),
        "ids": Strings(f"[{name}]" for name in called),
        "mixed": Strings(rng.choice(["{}", "[{}]", "[{}]"]).format(name) for name in called),
        "numbered": Strings(f"{rank}. [{name}]" for rank, name in ranked),
        "explained": Strings(line.format(rank=r, name=n, remark=remark()) for r, n in ranked),
    }
