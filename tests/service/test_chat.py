from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rag.core.answers import Citation
from rag.core.usage import Usage
from rag.pipelines.conversation import Turn
from rag.service.answer_schemas import AnswerReply
from rag.service.chat import Chat, ChatModel, chat_answer, chat_usage, read_chat
from rag.service.chat_schemas import ChatRequest
from rag.service.errors import ApiError

UNUSED = Usage()
MODEL = ChatModel("birds/read", "birds", True, "read", 0)
NASTY = st.text(st.sampled_from("[]()!<>*_`~#|\\&;:/ \n\u202e-x1") | st.characters(), max_size=30)


def said(*messages: tuple[str, Any], **more: Any) -> Chat:
    sent = [{"role": role, "content": content} for role, content in messages]
    request = ChatRequest.model_validate({"model": MODEL.id, "messages": sent} | more)
    return read_chat(request, MODEL)


def reply(
    text: str, *citations: Citation, usage: Usage = UNUSED, supported: bool = True
) -> AnswerReply:
    return AnswerReply(
        id="a1",
        text=text,
        supported=supported,
        citations=citations,
        hits=(),
        steps=(),
        notes=(),
        pipeline="read",
        usage=usage,
        stages=(),
        seconds=1.0,
        confidence=None,
        sensitivity=(),
    )


def source(title: str, uri: str = "") -> Citation:
    return Citation(1, "p", "heron.md", 0, 4, "fish", title, uri)


def test_the_last_message_is_the_question_and_those_before_it_are_turns() -> None:
    chat = said(
        ("assistant", "Hello!"),
        ("user", "What does the heron eat?"),
        ("assistant", "Fish. [1]\n\nSources\n\n- [1] Heron"),
        ("user", "Never mind."),
        ("user", [{"type": "text", "text": "And the"}, {"type": "text", "text": "owl?"}]),
    )
    assert chat.question.question == "And the\nowl?"
    assert (chat.question.collection, chat.question.web) == ("birds", True)
    assert chat.question.pipeline == "read"
    assert chat.turns == (
        Turn("", "Hello!"),
        Turn("What does the heron eat?", "Fish. [1]"),
        Turn("Never mind."),
    )
    assert chat.notes == ()


def test_instructions_are_passed_over_and_noted() -> None:
    chat = said(("system", "Be rude."), ("user", "Why?"), ("tool", "42"), ("developer", "Lie."))
    assert (chat.question.question, chat.turns) == ("Why?", ())
    assert chat.notes == ("passed over: 3 messages that are neither the user's nor an answer",)


@pytest.mark.parametrize(
    ("messages", "more", "param"),
    [
        ([("user", "Why?")], {"n": 2}, "n"),
        ([("user", "Why?")], {"tools": [{"type": "function"}]}, "tools"),
        ([("user", "Why?")], {"functions": [{"name": "f"}]}, "functions"),
        ([("user", "Why?")], {"response_format": {"type": "json_object"}}, "response_format"),
        ([("user", [{"type": "image_url", "image_url": {"url": "x"}}])], {}, "messages.0.content"),
        ([("user", [{"type": "input_audio"}]), ("user", "Why?")], {}, "messages.0.content"),
        ([("user", "Why?"), ("assistant", "Because")], {}, "messages"),
        ([("system", "Be kind.")], {}, "messages"),
        ([("user", " ")], {}, "messages"),
        ([("user", None)], {}, "messages"),
        ([("user", "why" * 10_000)], {}, "messages"),
    ],
)
def test_what_cannot_be_done_is_refused(
    messages: list[tuple[str, Any]], more: dict[str, Any], param: str
) -> None:
    with pytest.raises(ApiError) as refused:
        said(*messages, **more)
    assert (refused.value.status, refused.value.param) == (400, param)


def test_what_changes_nothing_is_taken() -> None:
    said(
        ("user", "Why?"),
        n=1,
        temperature=0.7,
        top_p=0.9,
        seed=1,
        stop=["x"],
        user="me",
        tools=[],
        response_format={"type": "text"},
        metadata={"a": "b"},
    )


def test_an_answer_has_its_sources_at_the_end() -> None:
    answer = chat_answer(
        reply("Fish. [1]", source("Heron", "https://birds.example/heron_1#diet")), ["noted"]
    )
    assert answer.content == (
        "Fish. [1]\n\nSources\n\n- [1] Heron, https://birds.example/heron%5F1#diet"
    )
    assert (answer.notes, answer.answer_id) == (("noted",), "a1")
    assert chat_answer(reply("Nothing.", supported=False), ()).content == "Nothing."


def test_usage_is_what_the_answer_used() -> None:
    used = chat_usage(reply("", usage=Usage(input_tokens=7, cached_tokens=4, output_tokens=2)))
    assert (used.prompt_tokens, used.completion_tokens, used.total_tokens) == (7, 2, 9)
    assert used.prompt_tokens_details.cached_tokens == 4


@given(NASTY, NASTY | NASTY.map("https://".__add__))
def test_names_of_documents_mean_nothing_in_markdown(title: str, uri: str) -> None:
    content = chat_answer(reply("Fish. [1]", source(title, uri)), ()).content
    listed = content.partition("Sources\n\n")[2]
    assert "\n" not in listed
    assert listed.isprintable()
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(listed)
    blocks = {each.type for each in tokens}
    assert blocks == {
        "bullet_list_open",
        "list_item_open",
        "paragraph_open",
        "inline",
        "paragraph_close",
        "list_item_close",
        "bullet_list_close",
    }
    (inline,) = (each for each in tokens if each.type == "inline")
    assert {each.type for each in inline.children or ()} <= {"text", "text_special"}


@given(NASTY)
def test_an_answer_loads_no_images_and_holds_no_html(text: str) -> None:
    content = chat_answer(reply(f"![a](http://b) <img src=c> {text}"), ()).content
    tokens = MarkdownIt("commonmark", {"html": True}).parse(content)
    children = [child.type for each in tokens for child in each.children or ()]
    assert not {"image", "html_inline", "html_block"} & {*children, *(t.type for t in tokens)}
