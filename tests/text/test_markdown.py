from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rag.text.markdown import fenced, heading_text, lines, read_markdown, table


def test_front_matter_leaves_the_text():
    content = read_markdown(
        b'---\ntitle: "The guide"\nyear: 2024\ndraft: false\ntags: [a, b]\nauthor:\n  - x\n---\n'
        b"# Heading\n"
    )
    assert content.text == "# Heading\n"
    assert content.title == "The guide"
    assert content.metadata == {
        "format": "markdown",
        "year": 2024,
        "draft": False,
        "tags": ["a", "b"],
    }


def test_a_rule_at_the_start_is_no_front_matter():
    text = "---\nJust some prose.\n---\n"
    assert read_markdown(text.encode()).text == text
    assert read_markdown(b"---\na: 1\n").text == "---\na: 1\n"


def test_title_from_the_first_heading():
    assert (
        read_markdown(b"```\n# code\n```\n## The `real` [one](x.md) ##\n").title == "The real one"
    )
    assert heading_text("# C#") == "C#"


LINES = st.sampled_from(
    ["# a", "####### seven", "#none", "    # four", "   ## three", "#", "```", "````", "~~~ py",
     "``` `x`", "text", "", "## b ##"]
)  # fmt: skip


@given(st.lists(LINES, max_size=12))
def test_headings_are_those_of_a_commonmark_parser(rows):
    # A list would nest and an indented line may go on a paragraph: neither is generated here.
    text = "\n\n".join(rows) + "\n"
    expected = [
        (token.map[0], int(token.tag[1]))
        for token in MarkdownIt().parse(text)
        if token.type == "heading_open"
    ]
    found = [(text.count("\n", 0, line.start), line.level) for line in lines(text) if line.level]
    assert found == expected


@given(st.text())
def test_lines_cover_the_text(text):
    assert "".join(text[line.start : line.end] for line in lines(text)) == text


def test_tables_are_rectangular_and_escape_bars():
    assert table([["a", "b|c"], ["1\n2"]]) == "| a | b\\|c |\n| --- | --- |\n| 1 2 |  |"


def test_a_fence_is_longer_than_those_inside():
    assert fenced("```\nx\n```") == "````\n```\nx\n```\n````"
