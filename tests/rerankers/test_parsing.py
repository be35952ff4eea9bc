import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rag.core.errors import InputError
from rag.rerankers.parsing import ParsedOrder, parse_order

FIVE = [str(number) for number in range(1, 6)]
TWENTY = [str(number) for number in range(1, 21)]


def named(text, identifiers=FIVE, wanted=None):
    """Return the identifiers that a reply puts in order, as one string."""
    return " ".join(identifiers[place] for place in parse_order(text, identifiers, wanted).order)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("[2] > [4] > [1]", "2 4 1"),
        ("[2]>[4]>[1]", "2 4 1"),
        ("[2], [4], [1]", "2 4 1"),
        ("[2]; [4]; [1].", "2 4 1"),
        ("[2] [4] [1]", "2 4 1"),
        ("[2] -> [4] => [1]", "2 4 1"),
        ("[2] → [4] → [1]", "2 4 1"),
        ("[2] ≻ [4] \\succ [1]", "2 4 1"),
        ("[2] &gt; [4] &gt; [1]", "2 4 1"),
        ("[2]\n[4]\n[1]", "2 4 1"),
        ("[2] >\n[4] >\n[1]", "2 4 1"),
        ("[2]\n> [4]\n> [1]", "2 4 1"),
        ("- [2]\n- [4]\n- [1]", "2 4 1"),
        ("* **[2]**\n* **[4]**\n* **[1]**", "2 4 1"),
        ("1. [2]\n2. [4]\n3. [1]", "2 4 1"),
        ("1) [2]\n2) [4]\n3) [1]", "2 4 1"),
        ("**[2]** > **[4]**", "2 4"),
        ("`[2] > [4]`", "2 4"),
        ("```\n[2] > [4]\n```", "2 4"),
        ("$\\boxed{[2] > [4] > [1]}$", "2 4 1"),
        ("<answer>[2] > [4]</answer><|im_end|>", "2 4"),
        ("Passage [2] > Passage [4]", "2 4"),
    ],
)
def test_runs(text, order):
    assert named(text) == order


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("[2, 3, 1]", "2 3 1"),
        ("[2 > 3 > 1]", "2 3 1"),
        ('["2", "3", "1"]', "2 3 1"),
        ("[[2], [3], [1]]", "2 3 1"),
        ("[PASSAGE2, PASSAGE3]", ""),
        ("```json\n[\n  2,\n  3,\n  1\n]\n```", "2 3 1"),
        ('{"ranking": [2, 3, 1]}', "2 3 1"),
        ('{\n  "ranking": [\n    2,\n    3,\n    1\n  ]\n}', "2 3 1"),
        ('{"ranking": ["[2]", "[3]", "[1]"], "reason": "[4] says nothing"}', "2 3 1"),
        ("ranking = [2, 3, 1]", "2 3 1"),
        # A list may be a citation, an argument or an index as well.
        ("The claim is supported [2, 3].", ""),
        ("shape: [2, 3]", ""),
        ("x = [2, 3]", ""),
    ],
)
def test_lists(text, order):
    assert named(text) == order


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("1. [2] - names the tower\n2. [3] - does not\n3. [1]: neither", "2 3 1"),
        ("1. **Passage [2]**: better than [3]\n2. **Passage [4]**: not [2] > [3]", "2 4"),
        ("1. [1] is the best\n2. [2] is not", "1 2"),
        ("- [4]: names it\n- [2]: does not\n  as one reads in [5]\n- [3]: neither", "4 2 3"),
        ("Ranking:\n[4] as it names it\n[2] is close\n[5] is not", "4 2 5"),
        ("Ranking:\n\n[4] because it names it\n[2] since it is close", ""),
        ("1. [2]\nIt names the tower.\n\n2. [4]\nIt does not.", "2 4"),
        # The prompt's passages, or one discussed after the other.
        ("[1] Paris is\n[2] Rome is\n[3] Oslo is", ""),
        ("[1]: relevant\n[2]: not relevant\n[4]: relevant", ""),
        ("[4] is nice.\n[2] is about dogs.", ""),
        ("- [4]: names it", ""),
        # The first line is not read, and could be the best passage.
        ("1. The best is passage four\n2. [2] - close\n3. [1] - not", ""),
    ],
)
def test_lines_with_explanations(text, order):
    assert named(text) == order


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Passage [4] is best. Ranking: [2] > [4] > [1]", "2 4 1"),
        ("Ranking: [2], [4], [1]. I hope this helps", "2 4 1"),
        ("Sure! Here are the 5 passages, ranked:\n\n[2] > [4] > [1]\n\nAnything else?", "2 4 1"),
        ("The final ranking is [2] > [4] > [1].", "2 4 1"),
        ("Most to least relevant: [2], [4], [1]", "2 4 1"),
        ("[2] > [4] > [1]\n\nNote that [1] and [2] are similar.", "2 4 1"),
        ("[2] > [4] > [1]\n\nHowever, [1] > [2] in style.", "2 4 1"),
        ("[2] > [4] > [1]\n\nExplanation:\n- [2]: yes\n- [1]: no\n- [4]: so so", "2 4 1"),
        ("[2] > [4] > [1]\n\nNot relevant: [3], [5]", "2 4 1"),
        ("Draft: [1] > [2] > [3]\n\nOn reflection:\n[3] > [2] > [1]", "3 2 1"),
        ("[1] > [2] > [3]\n[3] > [2] > [1]", "3 2 1"),
        ("[2] > [4] > [1] > [3]\n\nThe top two: [2] > [4]", "2 4 1 3"),
        ("[2], [4]\n[1], [3]", ""),
        # Two parts, of which the last is not the best.
        ("Most relevant:\n[2] > [3]\n\nOthers:\n[4] > [1]", ""),
        ("Best first:\n[2] > [3]\n\nsome prose\n\n[4] > [1]", ""),
        # Part of the run cannot be read.
        ("[2] > 4 > [1]", ""),
        ("[1] > [2] > ... > [5]", ""),
        ("[2] < [4] < [1]", ""),
        ("[2]-[4]", ""),
        ("Least relevant first: [2] > [4] > [1]", ""),
    ],
)
def test_which_piece_is_the_ranking(text, order):
    assert named(text) == order


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("[3]", "3"),
        (" **[3]**.\n", "3"),
        ("Ranking: [3]", "3"),
        ("Most relevant:\n[3]", "3"),
        ("The most relevant passage is [3].", "3"),
        ("Passage [3] is the best.", ""),
        ("The best is [3]", ""),
        ("Note: [3]", ""),
    ],
)
def test_a_lone_identifier_is_a_whole_line_where_one_is_wanted(text, order):
    assert named(text, wanted=1) == order
    assert named(text) == ""


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("<think>[1] > [2] > [3]</think>\n[3] > [1]", "3 1"),
        ("[3] > [1]\n<think>[1] > [2] > [3]</think>", "3 1"),
        ("<THINK>[1] > [2]</THINK><thinking>[2] > [1]</thinking>[3] > [1]", "3 1"),
        ("[1] > [2] > [3]</think> [3] > [1]", "3 1"),
        ("<think>[1] > [2] > [3]", ""),
        ("<think>[1] > [2] > [3]</think>", ""),
    ],
)
def test_reasoning_does_not_count(text, order):
    assert named(text) == order


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("\uff3b2\uff3d \uff1e 【4】 > \u30161\u3017", "2 4 1"),
        ("[٢] > [४] > [\uff11]", "2 4 1"),
        ("[②] > [⁴]", "2 4"),
        ("[ 2 ] > [04]", "2 4"),
        ("排序\uff1a[2] > [4] > [1]", "2 4 1"),
        ("[2] > [\u200b4]", "2 4"),
        ("(2) > (4)", ""),
        ("2 > 4 > 1", ""),
        ("Passage 2 > Passage 4", ""),
    ],
)
def test_brackets_and_digits_of_any_script(text, order):
    assert named(text) == order


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("[2] > [4] >", "2 4"),
        ("[2] > [4] > [", "2 4"),
        ("[2] > [4] > [1", "2 4"),
        ("[2] > [4] > ...", "2 4"),
        ("[2, 4, 1", ""),
        ("1. [2]\n2. [4]\n3. ", "2 4"),
        ("[2", ""),
    ],
)
def test_replies_that_break_off(text, order):
    assert named(text) == order


def test_repeated_and_unknown_identifiers_are_counted():
    assert parse_order("[9] > [2] > [2] > [1] > [9] > [0]", FIVE) == ParsedOrder((1, 0), 2, 2)
    assert parse_order("[9] > [8]", FIVE) == ParsedOrder((), 0, 2)
    assert parse_order("nothing", FIVE) == ParsedOrder()


def test_letters():
    letters = [chr(ord("A") + place) for place in range(20)] + ["AB"]
    assert named("[C] > [AB] > [A]", letters) == "C AB A"
    assert named("Ranking: [c] > [a]", letters) == "C A"
    assert parse_order("[C] > [Z] > [A]", letters) == ParsedOrder((2, 0), 0, 1)
    assert named("A > C > B", letters) == ""
    assert named("I think [sic] that A is best", letters) == ""
    assert named("[OK]", letters) == ""


@pytest.mark.parametrize("identifiers", [["1", "01"], ["a", "A"], [""], ["1", "[2]"]])
def test_identifiers_that_cannot_be_told_apart(identifiers):
    with pytest.raises(InputError, match="distinct letters and digits"):
        parse_order("[1]", identifiers)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[] > []",
        "Error code: 429 - rate limit; try again in 7 seconds (limit 3)",
        "Error code: 400 - {'error': {'message': 'bad', 'top': [3, 2]}}",
        "Error code: [7]",
        "[Error] [3]",
        "<error>[3]</error>",
        "ERROR::reduce_length",
        "ERROR::The response was filtered",
        '{"error": {"code": [7]}}',
        '{"error": {"codes": [7, 3], "order": [2, 1]}}',
        '{"detail": [{"loc": ["body", "messages", 0], "msg": "field required"}]}',
        'Traceback (most recent call last):\n  File "a.py", line 3, in f\nIndexError: a[3]',
        "I'm sorry, but I cannot rank these 20 passages: [1], [2], [3].",
        "I can't tell whether [1] > [2].",
        "The following are not relevant:\n- [3]\n- [5]\n- [2]",
        "Some things stand out:\n- [5]: has the year\n- [3]: has another",
        "Here are the 20 passages you provided.",
        "Received passage [3].",
        "I will answer in the format [2] > [1].",
        "The output format is: [2] > [1]",
        "Rank the 20 passages. The output format should be [] > [], e.g., [4] > [2]. Only answer",
        "Passages [3] and [7] both mention 1998.",
        "Passages [3], [7] and [2] do not help.",
        "It opened in 1889 [3][4].",
        "Sources: [3], [4]",
        "[3] > [5] since it names the year. [5] > [7] since that is off topic.",
        "7 [3]",
    ],
)
def test_what_states_no_order(text):
    assert parse_order(text, TWENTY) == ParsedOrder()


def test_an_echo_of_the_prompt_changes_no_order_wherever_it_breaks_off():
    lines = "".join(f"[{name}] It is like [{4 * place}].\n" for place, name in enumerate(TWENTY))
    prompt = f"Here are 20 passages.\n\n{lines}\nRank them in the format [] > [], e.g., [2] > [1]."
    for end in range(len(prompt) + 1):
        assert parse_order(prompt[:end], TWENTY).order in {(), (0,)}


def run(separator, form="[{}]"):
    return lambda names: separator.join(form.format(name) for name in names)


def items(form):
    return lambda names: "\n".join(form.format(n, name) for n, name in enumerate(names, 1))


STYLES = {
    "asked": run(" > "),
    "commas": run(", "),
    "lines": run("\n"),
    "arrows": run(" → "),
    "wrapped": run(" >\n"),
    "bold": run(" > ", "**[{}]**"),
    "full width": run(" \uff1e ", "【 {} 】"),
    "passages": run(" > ", "Passage [{}]"),
    "one bracket": lambda names: f"[{', '.join(names)}]",
    "JSON": lambda names: json.dumps({"ranking": list(names)}, indent=2),
    "bullets": items("- [{1}]"),
    "numbers": items("{0}. [{1}]"),
    "explained": items("{0}. **[{1}]**: of 1998, cites [3] and [{1}]"),
}
AROUND = [
    ("", ""),
    ("Ranking: ", ""),
    ("Sure! Here is the ranking of the 20 passages:\n\n", "\n\nNote that [1] and [2] are alike."),
    ("<think>Is [1] > [2] > [3]?</think>\n", "\n"),
    ("Passage [2] names 3 of them.\n\nFinal ranking:\n", "\n\nI hope this helps!"),
]


@given(
    st.integers(3, 20).flatmap(lambda size: st.permutations(range(size))),
    st.sampled_from(sorted(STYLES)),
    st.sampled_from(AROUND),
    st.booleans(),
)
def test_any_permutation_in_any_style_is_recovered(order, style, around, with_letters):
    assume(around != ("Ranking: ", "") or style not in {"JSON", "explained"})
    size = len(order)
    identifiers = (
        [chr(ord("A") + place) for place in range(size)] if with_letters else TWENTY[:size]
    )
    before, after = around
    text = before + STYLES[style]([identifiers[place] for place in order]) + after
    assert parse_order(text, identifiers) == ParsedOrder(tuple(order))


PARTS = ["[", "]", "[1]", "[2]", "[3]", "[9]", "[1, 3]", ">", ",", ":", ".", "-", "\n", " ", "("]
PARTS += [
    ")",
    "1.",
    "Ranking",
    "passage",
    "not",
    "e.g.",
    "<think>",
    "</think>",
    "{",
    "}",
    "【",
    "٣",
]


@given(
    st.one_of(st.text(), st.lists(st.sampled_from(PARTS)).map("".join)),
    st.sampled_from([[], ["1"], FIVE, ["A", "B", "AB"]]),
)
def test_any_text_is_read(text, identifiers):
    parsed = parse_order(text, identifiers)
    assert len(set(parsed.order)) == len(parsed.order)
    assert set(parsed.order) <= set(range(len(identifiers)))
    assert min(parsed.duplicates, parsed.unknown) >= 0


BRACKETS = "[]\uff3b\uff3d\ufe5d\ufe5e\u3014\u3015【】〖〗〘〙〚〛"


@given(st.text(st.characters(exclude_characters=BRACKETS)))
def test_text_without_brackets_states_no_order(text):
    assert parse_order(text, TWENTY) == ParsedOrder()


HOSTILE = ["[", "]", "[1] ", "[1", "[1]\n", "[1] > ", "[1], [99]\n", "1. [1]\n", "[1](", "[1] x "]
HOSTILE += [
    "<think>",
    "</think>",
    "-",
    "=",
    " ",
    "\n",
    "(",
    "[ ",
    "\uff11",
    "a:[1]",
    "passage ",
    "<a",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_linear_time(unit):
    """Nothing is timed: quadratic work on a text of this length would not end in a sane time."""
    text = "[1] " + unit * (100_000 // len(unit)) + "[2]"
    assert set(parse_order(text, FIVE).order) <= {0, 1}
